"""The page on hosts shows what `init` writes, and the links install the same."""

import base64
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from vllm_image_mcp.hosts.host import HOSTS, Host
from vllm_image_mcp.hosts.launch import Launch


def blocks_of(page: Path, title: str, language: str) -> list[str]:
    sections = re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)
    [section] = [each for each in sections if each.startswith(f"{title}\n")]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("host", HOSTS.values(), ids=list(HOSTS))
def test_the_block_of_each_host_has_the_form_that_init_writes(root: Path, host: Host) -> None:
    is_toml = host.name == "codex"
    [block] = blocks_of(root / "docs" / "hosts.md", host.title, "toml" if is_toml else "json")
    entry: Any = tomllib.loads(block) if is_toml else json.loads(block)
    for key in (*host.keys, "vllm-image"):
        entry = entry[key]

    assert entry == host.entry(launch_in(entry))
    assert "vllm-image-mcp" in launch_in(entry).arguments
    assert ("--no-structured-content" in launch_in(entry).arguments) != host.shows_structured_content


def launch_in(entry: Mapping[str, Any]) -> Launch:
    words: list[str] = [entry["command"], *entry["args"]] if "args" in entry else entry["command"]
    environment: dict[str, str] = entry.get("env", {})
    return Launch(command=words[0], arguments=words[1:], environment=environment)


def test_the_links_of_the_readme_install_what_init_writes(root: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    links = [urlsplit(found[1]) for found in re.finditer(r"\]\((https://[^)]*install[^)]*)\)", text)]
    queries = {link.hostname: parse_qs(link.query) for link in links}
    assert {each["name"][0] for each in queries.values()} == {"vllm-image"}
    plain = Launch(command="uvx", arguments=["vllm-image-mcp"])
    assert json.loads(queries["insiders.vscode.dev"]["config"][0]) == HOSTS["vscode"].entry(plain)
    assert json.loads(base64.b64decode(queries["cursor.com"]["config"][0])) == HOSTS["cursor"].entry(plain)


def test_the_tests_with_real_hosts_call_every_tool(root: Path) -> None:
    from vllm_image_mcp.tools.registration import TOOLS  # noqa: PLC0415 - slow to import

    calls = json.loads((root / "tests/hosts/calls.json").read_text("utf-8"))
    assert {tool.__name__ for tool, *_ in TOOLS} <= {call["tool"] for call in calls}
