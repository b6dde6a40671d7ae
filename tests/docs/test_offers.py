"""The page on resources and prompts is what the server lists; the bundle starts this version of it."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from mcp import Client
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(build_server(Settings.from_arguments(demo=True, output_dir=tmp_path)))


def rows(root: Path, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    text = (root / "docs" / "resources.md").read_text("utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [re.split(r" *\| *", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]


async def test_the_page_has_every_address(client: Client, root: Path) -> None:
    async with client:
        listed = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates

    assert [cell for cell, _ in rows(root, "Resources")] == [
        *(f"`{each.uri}`" for each in listed if not each.uri.startswith("ui:")),
        *(f"`{each.uri_template}`" for each in templates),
    ]
    (page,) = [each.uri for each in listed if each.uri.startswith("ui:")]
    assert f"`{page}`" in (root / "docs" / "resources.md").read_text("utf-8")


async def test_the_page_has_every_prompt_with_its_arguments(client: Client, root: Path) -> None:
    async with client:
        prompts = (await client.list_prompts()).prompts

    assert [(name, arguments) for name, arguments, _ in rows(root, "Prompts")] == [
        (f"`{each.name}`", ", ".join(f"`{one.name}`" for one in each.arguments or ())) for each in prompts
    ]


def test_the_bundle_starts_this_version_with_existing_options(root: Path) -> None:
    folder = root / "packaging" / "mcpb"
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]

    assert manifest["version"] == project["version"] == version("vllm-image-mcp")
    assert project["dependencies"] == [f"vllm-image-mcp=={version('vllm-image-mcp')}"]
    assert manifest["server"]["mcp_config"]["env"] == {
        Settings.variable(name): f"${{user_config.{name}}}" for name in manifest["user_config"]
    }
