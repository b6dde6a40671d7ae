"""The page on Windows and Mac has the files and entries that `init` writes there, and commands that exist."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from vllm_image_mcp.cli import main
from vllm_image_mcp.hosts.host import HOSTS, Host, UserFolders
from vllm_image_mcp.hosts.launch import Launch

STORE = "Claude Desktop from the Microsoft Store"
WRITTEN = ("cursor", "vscode", "zed", "opencode", "codex")
"""The hosts whose entries the page has; the entries of all others are as that of Cursor."""
WHERE = re.compile(r"`([^`]+)`")


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "windows.md").read_text("utf-8")


def rows(text: str, section: str) -> Iterator[Sequence[str]]:
    """Yield the cells of the first table in a section, without its head."""
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def blocks_of(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def windows(local_data: str = "%LOCALAPPDATA%") -> UserFolders:
    return UserFolders(
        home=Path("%USERPROFILE%"),
        settings=Path("%APPDATA%"),
        local_data=Path(local_data),
        pictures=Path("Pictures"),
        working=Path(),
        system="win32",
    )


def mac() -> UserFolders:
    return UserFolders(
        home=Path("~"),
        settings=Path("~/Library/Application Support"),
        local_data=Path("~/Library/Application Support"),
        pictures=Path("~/Pictures"),
        working=Path(),
        system="darwin",
    )


def host_of(title: str) -> Host:
    [host] = [each for each in HOSTS.values() if each.title == title]
    return host


def test_the_table_of_windows_has_each_host_with_its_file_and_key(text: str, tmp_path: Path) -> None:
    found = {
        title: (WHERE.findall(file)[0], WHERE.findall(key)[0]) for title, file, key in rows(text, "Windows")
    }
    (tmp_path / "Packages" / "Claude_...").mkdir(parents=True)
    expected = {
        host.title: (host.file(windows()).as_posix().replace("/", "\\"), host.keys[0])
        for host in HOSTS.values()
    }
    desktop = HOSTS["claude-desktop"]
    in_store = desktop.file(windows(str(tmp_path))).relative_to(tmp_path)
    expected[STORE] = ("\\".join(("%LOCALAPPDATA%", *in_store.parts)), desktop.keys[0])
    assert found == expected


def test_the_table_of_the_mac_has_the_files_that_differ(text: str) -> None:
    found = {title: WHERE.findall(file)[0] for title, file in rows(text, "Mac")}
    assert found == {title: host_of(title).file(mac()).as_posix() for title in found}
    others = [host for host in HOSTS.values() if host.title not in found and host.name != "claude-code"]
    assert others
    for host in others:  # as the page says: they are in the home folder on both systems
        assert host.file(mac()).relative_to("~") == host.file(windows()).relative_to("%USERPROFILE%")


def test_the_entries_have_the_form_that_init_writes(text: str) -> None:
    blocks = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    blocks += [
        tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    keys = ["mcpServers", "servers", "context_servers", "mcp", "mcpServers", "mcp_servers"]
    assert [next(iter(block)) for block in blocks] == keys
    for block in blocks:
        [host] = [HOSTS[name] for name in WRITTEN if HOSTS[name].keys[0] in block]
        entry: Any = block[host.keys[0]]["vllm-image"]
        words = entry["command"] if host.name == "opencode" else [entry["command"], *entry["args"]]
        launch = Launch(command=words[0], arguments=words[1:], environment={})
        assert entry == host.entry(launch)
        assert launch.arguments[0] == "vllm-image-mcp"
        assert ("--no-structured-content" in words) == (not host.shows_structured_content)
    assert "D:\\generated images" in blocks[0]["mcpServers"]["vllm-image"]["args"]
    assert "D:\\generated images" in blocks[5]["mcp_servers"]["vllm-image"]["args"]


def test_each_host_has_an_entry_on_the_page(text: str) -> None:
    as_cursor = [host for host in HOSTS.values() if host.keys == HOSTS["cursor"].keys]
    [sentence] = re.findall(r"The entry is the same in (.*?)\.", text)
    assert set(re.split(", | and ", sentence)) == {host.title for host in as_cursor}
    assert {host.name for host in HOSTS.values()} == {*WRITTEN, *(host.name for host in as_cursor)}


def commands(text: str) -> Iterator[Sequence[str]]:
    """Yield the commands of the PowerShell block, in which quotes are as in a POSIX shell."""
    [block] = blocks_of(text, "powershell")
    for line in block.splitlines():
        _, found, words = line.partition("uvx vllm-image-mcp ")
        if found:
            yield shlex.split(words.partition(" > ")[0].replace("\\", "/"))


def test_the_lines_of_powershell_have_commands_and_options_that_exist(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.txt").write_text("a fox", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lines = list(commands(text))
    assert [words[0] for words in lines] == ["generate", "edit", "batch", "health"]
    for name, *words in lines:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        with command.make_context(name, words) as context:
            assert not context.args


def test_a_dollar_is_in_single_quotes_unless_powershell_is_to_replace_it(text: str) -> None:
    [block] = blocks_of(text, "powershell")
    assert set(re.findall(r'"[^"]*?(\$[\w.]+)[^"]*"', block)) <= {"$HOME"}
