"""The tools are built when they are first asked for, and only then."""

import subprocess
import sys

import pytest
from mcp import Client
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.state import State
from vllm_image_mcp.tools.registration import TOOLS
from vllm_image_mcp.tools.tool_manager import ImageToolManager

BUILDING = """
import sys
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
build_server(Settings.from_arguments(demo=True))
print([name for name in sys.modules if name.startswith("vllm_image_mcp.tools.")])
"""


def no_meta(name: str) -> None:
    """Return no metadata."""


def test_a_server_starts_without_its_tools() -> None:
    done = subprocess.run([sys.executable, "-c", BUILDING], capture_output=True, text=True, check=True)
    assert "vllm_image_mcp.tools.tool_manager" in done.stdout
    assert "vllm_image_mcp.tools.generate" not in done.stdout
    assert "vllm_image_mcp.tools.registration" not in done.stdout


def test_tools_are_listed_in_order_and_built_once() -> None:
    tools = ImageToolManager(structured=True, meta=no_meta)
    listed = tools.list_tools()
    assert [tool.name for tool in listed] == [function.__name__ for function, *_ in TOOLS]
    assert tools.get_tool("generate_image") is listed[0]
    assert tools.get_tool("generateImage") is None
    assert list(tools.signatures) == [tool.name for tool in listed]
    assert "prompt" in tools.signatures["generate_image"].parameters


def test_tools_that_were_built_ahead_of_the_first_call_are_not_built_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.from_arguments(demo=True)
    server = build_server(settings)
    server.read_ahead(State(settings))
    monkeypatch.setattr("vllm_image_mcp.tools.registration.TOOLS", ())
    assert "generate_image" in server._tool_manager.signatures


@pytest.mark.parametrize("structured", [True, False])
def test_results_are_structured_if_they_should_be(*, structured: bool) -> None:
    tools = ImageToolManager(structured=structured, meta=no_meta)
    assert all(bool(tool.output_schema) == structured for tool in tools.list_tools())


async def test_a_tool_can_be_called_before_any_is_listed() -> None:
    async with Client(build_server(Settings.from_arguments(demo=True))) as client:
        result = await client.call_tool("list_presets", {})
    assert not result.is_error
