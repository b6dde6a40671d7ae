"""One image is paid for twice at most through tools and commands, too; counted where requests arrive."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from mcp import Client
from mcp.types import TextContent
from vllm_image_mcp.cli import main

Connect = Callable[..., Client]

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
PICTURE = {"prompt": "a red fox", "width": 64, "height": 64, "seed": 42}
DEADLINE_SECONDS = 120
OUT_OF_MEMORY = (
    "Server returned out-of-memory error. Try reducing resolution or use `gpu_status` "
    "to check available memory."
)


@pytest.fixture(params=["2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    """One is enough here: a server fails behind the protocol."""
    return request.param


def http(body: bytes, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class Server:
    """A server that counts generations, and answers all of them in one way, or breaks the connection."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.generations = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = head.partition("content-length:")[2].split()
                await reader.readexactly(int(length[0]) if length else 0)
                if head.startswith("post"):
                    self.generations += 1
                    writer.write(self.reply)
                    if not self.reply:
                        break
                else:
                    models = {"data": [{"id": KLEIN, "root": KLEIN}], "version": "0.30.0"}
                    writer.write(http(json.dumps(models).encode()))
                await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(*servers: Server) -> AsyncGenerator[list[str]]:
    async with asyncio.timeout(DEADLINE_SECONDS), contextlib.AsyncExitStack() as stack:
        urls: list[str] = []
        for server in servers:
            listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
            stack.callback(listener.close)
            urls.append(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        yield urls


FAULTS = {
    "an empty reply": (b"", 2, "broke"),
    "500": (http(b'{"detail": "it failed"}', 500), 2, "it failed"),
    "502": (http(b"<html>Bad Gateway</html>", 502), 2, "A proxy got no answer"),
    "504": (http(b"<html>Gateway Time-out</html>", 504), 1, "A proxy timed out before the server"),
    "413": (http(b"<html>Request Entity Too Large</html>", 413), 1, "upload limit"),
    "403": (http(b"<html>Forbidden</html>", 403), 1, "A proxy or firewall"),
}


@pytest.mark.parametrize(("reply", "most", "words"), FAULTS.values(), ids=FAULTS)
async def test_a_tool_sends_an_image_twice_at_most_and_says_what_to_do(
    connect: Connect, reply: bytes, most: int, words: str
) -> None:
    server = Server(reply)
    async with serving(server) as [url], connect(vllm_url=url) as client:
        result = await client.call_tool("generate_image", PICTURE)
    assert result.is_error
    [content] = result.content
    assert isinstance(content, TextContent)
    assert words in content.text
    assert server.generations == most
    assert ("Tried 2 times." in content.text) is (most == 2)


@pytest.mark.parametrize(("reply", "most", "words"), FAULTS.values(), ids=FAULTS)
async def test_a_command_sends_an_image_twice_at_most_and_says_what_to_do(
    tmp_path: Path, reply: bytes, most: int, words: str
) -> None:
    server = Server(reply)
    async with serving(server) as [url]:
        command = ["generate", "a fox", "--width", "64", "--height", "64", "--output-dir", str(tmp_path)]
        result = await asyncio.to_thread(
            CliRunner().invoke, main, [*command, "--vllm-url", url], prog_name="vllm-image-mcp"
        )
    assert result.exit_code == 1
    assert words in result.stderr
    assert server.generations == most


@pytest.mark.parametrize(
    "reply",
    [
        http(b'{"detail": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"}', 500),
        http(b'{"error": {"message": "NPU out of memory. NPU 0 has 61 GiB", "code": 500}}'),
        http(b'{"detail": "DefaultCPUAllocator: can\'t allocate memory"}', 500),
    ],
)
async def test_out_of_memory_is_told_in_the_plans_words_and_sent_once(connect: Connect, reply: bytes) -> None:
    server = Server(reply)
    async with serving(server) as [url], connect(vllm_url=url) as client:
        result = await client.call_tool("generate_image", PICTURE)
    [content] = result.content
    assert isinstance(content, TextContent)
    assert content.text.startswith(OUT_OF_MEMORY)
    assert server.generations == 1
