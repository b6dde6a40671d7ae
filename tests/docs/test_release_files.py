"""The files by which other places list this project agree with it, and with each other."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from vllm_image_mcp.settings import Settings

NAME = "io.github.vllm-image/vllm-image-mcp"
REPOSITORY = "https://github.com/vllm-image/vllm-image"
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
LONGEST_DESCRIPTION = 100


def read(file: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads(file.read_text("utf-8"))


@pytest.fixture
def version(root: Path) -> str:
    return tomllib.loads((root / "packages/vllm-image-mcp/pyproject.toml").read_text("utf-8"))["project"][
        "version"
    ]


def test_the_entry_of_the_mcp_registry_is_ours(root: Path, version: str) -> None:
    entry = read(root / "server.json")
    [package] = entry["packages"]
    assert (entry["$schema"], entry["name"]) == (SCHEMA, NAME)
    assert len(entry["description"]) <= LONGEST_DESCRIPTION
    assert (entry["version"], package["version"]) == (version, version)
    assert (package["registryType"], package["identifier"]) == ("pypi", "vllm-image-mcp")
    assert f"mcp-name: {NAME} " in (root / "packages/vllm-image-mcp/README.md").read_text("utf-8")


def test_its_variables_are_settings(root: Path) -> None:
    [package] = read(root / "server.json")["packages"]
    settings = {Settings.variable(name): each for name, each in Settings.table().items()}
    for variable in package["environmentVariables"]:
        assert variable.get("isSecret", False) == settings[variable["name"]].secret


def test_the_plugin_starts_this_version(root: Path, version: str) -> None:
    plugin = read(root / "packaging/claude-plugin/.claude-plugin/plugin.json")
    assert plugin["version"] == version
    assert plugin["mcpServers"]["vllm-image"]["args"] == [f"vllm-image-mcp=={version}"]
    [listed] = read(root / ".claude-plugin/marketplace.json")["plugins"]
    assert (root / listed["source"] / ".claude-plugin" / "plugin.json").is_file()
    assert listed["name"] == plugin["name"]


def test_the_bundle_and_the_citation_are_of_this_version(root: Path, version: str) -> None:
    assert read(root / "packaging/mcpb/manifest.json")["version"] == version
    bundle = tomllib.loads((root / "packaging/mcpb/pyproject.toml").read_text("utf-8"))["project"]
    assert (bundle["version"], bundle["dependencies"]) == (version, [f"vllm-image-mcp=={version}"])
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text("utf-8")


def test_every_address_of_the_repository_is_the_same(root: Path) -> None:
    files = [
        *root.glob("packages/*/pyproject.toml"),
        root / "server.json",
        root / "CITATION.cff",
        root / "packaging/claude-plugin/.claude-plugin/plugin.json",
        root / ".claude-plugin/marketplace.json",
        root / "packages/vllm-image-mcp/src/vllm_image_mcp/server.py",
    ]
    for file in files:
        found = re.findall(r"https://github\.com/[\w-]+/[\w-]+", file.read_text("utf-8"))
        assert found, file
        assert set(found) == {REPOSITORY}, file


def test_the_skill_of_the_plugin_is_the_one_that_the_server_offers(root: Path) -> None:
    skill = root / "packaging/claude-plugin/skills/image-prompting/SKILL.md"
    offered = root / "packages/vllm-image-mcp/src/vllm_image_mcp/resources/image_prompting_skill.md"
    assert skill.read_bytes() == offered.read_bytes()


def test_the_skill_names_only_tools_that_exist(root: Path) -> None:
    from vllm_image_mcp.tools.registration import TOOLS  # noqa: PLC0415 - slow to import

    skill = (root / "packaging/claude-plugin/skills/image-prompting/SKILL.md").read_text("utf-8")
    names = {tool.__name__ for tool, *_ in TOOLS}
    called = set(re.findall(r"`([a-z]+_[a-z_]+)`", skill)) - {
        "supports_negative_prompt",
        "aspect_ratio",
        "batch_id",
    }
    assert called
    assert called <= names
