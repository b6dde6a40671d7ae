"""What tools and commands say about an image that fails, and the attempts that the server counts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import Client
from mcp.types import TextContent
from vllm_image_mcp.cli import main

Connect = Callable[..., Client]
Misbehave = Callable[..., Any]

PICTURE = {"prompt": "a red fox", "width": 64, "height": 64, "seed": 42}
DEADLINE_SECONDS = 120
OUT_OF_MEMORY = (
    "Server returned out-of-memory error. Try reducing resolution or use `gpu_status` "
    "to check available memory."
)


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the waits between attempts negligible."""
    monkeypatch.setattr("vllm_omni_client._protocol.retry._FIRST_BACKOFF_SECONDS", 0.001)


@pytest.fixture(params=["2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    """One is enough here: a server fails behind the protocol."""
    return request.param


FAULTS = {
    "an empty reply": (2, "broke"),
    "500": (2, "it failed"),
    "502": (2, "A proxy got no answer"),
    "504": (1, "A proxy timed out before the server"),
    "413": (1, "upload limit"),
    "403": (1, "A proxy or firewall"),
    "408": (3, "Wait, then call again."),
    "429": (3, "Wait, then call again."),
    "503 with a wait": (3, "Wait, then call again."),
}
SAYS = pytest.mark.parametrize(("fault", "most", "words"), [(name, *told) for name, told in FAULTS.items()])


@SAYS
async def test_a_tool_says_what_to_do_and_how_often_it_tried(
    connect: Connect, misbehave: Misbehave, fault: str, most: int, words: str
) -> None:
    server = misbehave(fault)
    async with asyncio.timeout(DEADLINE_SECONDS), connect(vllm_url=server.url) as client:
        result = await client.call_tool("generate_image", PICTURE)
    assert result.is_error
    [content] = result.content
    assert isinstance(content, TextContent)
    assert words in content.text
    assert server.generations["a red fox"] == most
    assert (f"Tried {most} times." in content.text) is (most > 1)


@SAYS
async def test_a_command_says_what_to_do_and_how_often_it_tried(
    tmp_path: Path, misbehave: Misbehave, fault: str, most: int, words: str
) -> None:
    server = misbehave(fault)
    command = ["generate", "a red fox", "--width=64", "--height=64", f"--output-dir={tmp_path}"]
    result = await asyncio.to_thread(
        CliRunner().invoke, main, [*command, f"--vllm-url={server.url}"], prog_name="vllm-image-mcp"
    )
    assert result.exit_code == 1
    assert words.replace("call again", "try again") in result.stderr
    assert server.generations["a red fox"] == most
    assert (f"Tried {most} times." in result.stderr) is (most > 1)


@pytest.mark.parametrize(
    "fault",
    ["out of memory", "out of memory in a success", "out of memory of CUBLAS", "out of memory of the host"],
)
async def test_out_of_memory_is_reported_in_the_words_of_the_plan_and_sent_once(
    connect: Connect, misbehave: Misbehave, fault: str
) -> None:
    server = misbehave(fault)
    async with asyncio.timeout(DEADLINE_SECONDS), connect(vllm_url=server.url) as client:
        result = await client.call_tool("generate_image", PICTURE)
    [content] = result.content
    assert isinstance(content, TextContent)
    assert content.text.startswith(OUT_OF_MEMORY)
    assert server.generations["a red fox"] == 1
