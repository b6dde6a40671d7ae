"""The bundle for Claude Desktop, by the tool that packs it."""

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

if TYPE_CHECKING:
    from conftest import Node

MCPB = "node_modules/@anthropic-ai/mcpb/dist/cli/cli.js"
BUNDLE = Path(__file__).parents[2] / "packaging" / "mcpb"


def test_the_manifest_is_valid_and_the_bundle_is_packed(node: "Node", tmp_path: Path) -> None:
    node.run(MCPB, "validate", str(BUNDLE / "manifest.json"))
    node.run(MCPB, "pack", str(BUNDLE), str(tmp_path / "out.mcpb"))

    with ZipFile(tmp_path / "out.mcpb") as packed:
        assert {"manifest.json", "pyproject.toml"} <= set(packed.namelist())
