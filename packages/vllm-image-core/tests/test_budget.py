"""One image is paid for twice at most, over client, fleet and batch; counted where the requests arrive."""

import asyncio
import base64
import contextlib
import io
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.batches.stored_items import ItemState
from vllm_image_core.errors import ImageError
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import OmniError

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
DEADLINE_SECONDS = 120


def picture() -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").crop((32, 32, 96, 96)).convert("RGB").save(file, "PNG")
    return file.getvalue()


GOOD = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(picture()).decode()}]}).encode()


def http(body: bytes, status: int = 200, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


@dataclass
class Server:
    """A server that counts generations by their prompt, and spoils the first of each.

    Attributes:
        reply: What it says to a generation before it breaks the connection; None to say nothing for ever.
        breaks: How it ends the connection: not at all, or with a reset or the end of the stream.
        times: How many generations of each prompt it spoils.
        generations: How many came, by prompt.
    """

    reply: bytes | None
    breaks: str = "no"
    times: int = 1_000
    generations: Counter[str] = field(default_factory=Counter[str])
    url: str = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(reader, writer):
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].split()
        body = await reader.readexactly(int(length[0]) if length else 0)
        if not head.startswith("post"):
            writer.write(http(self._aside(head.split()[1])))
            return True
        prompt = json.loads(body)["prompt"]
        self.generations[prompt] += 1
        if self.generations[prompt] > self.times:
            writer.write(http(GOOD))
            return True
        if self.reply is None:
            await reader.read(1)  # until the client has gone
            return False
        writer.write(self.reply)
        await writer.drain()
        if self.breaks == "reset":
            writer.transport.abort()
        return self.breaks == "no"

    def _aside(self, path: str) -> bytes:
        known = {
            "/v1/models": {"data": [{"id": KLEIN, "root": KLEIN}]},
            "/version": {"version": "0.30.0"},
        }
        return json.dumps(known.get(path, {})).encode()


@asynccontextmanager
async def serving(*servers: Server) -> AsyncGenerator[list[str]]:
    async with AsyncExitStack() as stack, asyncio.timeout(DEADLINE_SECONDS):
        for server in servers:
            listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
            stack.callback(listener.close)
            server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield [server.url for server in servers]


def asked_for(*servers: Server) -> int:
    """The most generations of one prompt, over all servers."""
    total: Counter[str] = sum((server.generations for server in servers), Counter[str]())
    return max(total.values())


Make = Callable[[], Server]
MAY_HAVE_COST: dict[str, Make] = {
    "a reset before a byte": lambda: Server(b"", "reset"),
    "a reset after the headers": lambda: Server(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", "reset"),
    "a reset in mid-body": lambda: Server(http(GOOD)[:-50], "reset"),
    "an empty reply": lambda: Server(b"", "end"),
    "the end in mid-body": lambda: Server(http(GOOD)[:-50], "end"),
    "silence": lambda: Server(None),
    "500": lambda: Server(http(b'{"error": {"message": "it failed"}}', 500)),
    "502": lambda: Server(http(b"<html>Bad Gateway</html>", 502)),
    "a page": lambda: Server(http(b"<html>login</html>")),
}
SENT_ONCE: dict[str, Make] = {
    "504": lambda: Server(http(b"<html>Gateway Time-out</html>", 504)),
    "524": lambda: Server(http(b"<html>A timeout occurred</html>", 524)),
    "out of memory": lambda: Server(http(b'{"detail": "XPU out of memory. Tried to allocate 2 GiB"}', 500)),
    "400": lambda: Server(http(b'{"error": {"message": "no"}}', 400)),
}
SERVERS = pytest.mark.parametrize("servers", [1, 3])


def studio_of(urls: list[str], folder: Path) -> Studio:
    [first, *others] = urls
    return Studio([first, *others] if others else first, output_dir=folder, timeout=20.0)


@SERVERS
@pytest.mark.parametrize("fault", MAY_HAVE_COST.values(), ids=MAY_HAVE_COST)
async def test_an_image_that_always_fails_is_sent_twice_at_most_and_its_error_tells_both(
    tmp_path: Path, fault: Make, servers: int
) -> None:
    those = [fault() for _ in range(servers)]
    async with serving(*those) as urls:
        studio = studio_of(urls, tmp_path)
        if those[0].reply is None:
            studio = Studio([*urls] if servers > 1 else urls[0], output_dir=tmp_path, timeout=2.0)
        async with studio:
            with pytest.raises((OmniError, ImageError)) as caught:
                await studio.generate("a fox", width=64, height=64)
    assert 1 <= asked_for(*those) <= 2
    if isinstance(caught.value, OmniError):
        assert caught.value.exchange
        assert caught.value.exchange.attempts == asked_for(*those)
        assert caught.value.exchange.generations == asked_for(*those)


@SERVERS
@pytest.mark.parametrize("fault", SENT_ONCE.values(), ids=SENT_ONCE)
async def test_an_image_that_would_fail_again_or_still_runs_is_sent_once(
    tmp_path: Path, fault: Make, servers: int
) -> None:
    those = [fault() for _ in range(servers)]
    async with serving(*those) as urls, studio_of(urls, tmp_path) as studio:
        with pytest.raises(OmniError) as caught:
            await studio.generate("a fox", width=64, height=64)
    assert (asked_for(*those), caught.value.outcome) == (1, "final")


@SERVERS
@pytest.mark.parametrize("fault", [*MAY_HAVE_COST, *SENT_ONCE])
async def test_no_image_of_a_batch_is_sent_more_than_twice(tmp_path: Path, fault: str, servers: int) -> None:
    those = [{**MAY_HAVE_COST, **SENT_ONCE}[fault]() for _ in range(servers)]
    requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(3)]
    async with serving(*those) as urls:
        seconds = 2.0 if those[0].reply is None else 20.0
        async with Studio(
            urls if servers > 1 else urls[0], output_dir=tmp_path, timeout=seconds, outage_timeout=1.0
        ) as studio:
            batch = await studio.batch(requests, max_concurrent=1)
            await batch.wait()
    assert batch.progress.done == 0
    assert 1 <= asked_for(*those) <= 2


@SERVERS
async def test_an_image_that_a_server_breaks_off_once_is_made_and_its_receipt_tells(
    tmp_path: Path, servers: int
) -> None:
    those = [Server(b"", "end", times=1), *(Server(b"", times=0) for _ in range(servers - 1))]
    async with serving(*those) as urls, studio_of(urls, tmp_path) as studio:
        made = await studio.generate("a fox", width=64, height=64)
    assert made.path.exists()
    assert asked_for(*those) <= 2


async def test_a_refusal_that_each_of_two_servers_gives_once_ends_nothing(tmp_path: Path) -> None:
    those = [Server(http(b'{"error": {"message": "too slow"}}', 408), times=1) for _ in range(2)]
    async with serving(*those) as urls, studio_of(urls, tmp_path) as studio:
        assert (await studio.generate("a fox", width=64, height=64)).path.exists()


async def test_a_batch_that_goes_on_knows_what_was_under_way_when_its_process_ended(tmp_path: Path) -> None:
    server = Server(None)
    async with serving(server) as urls:
        async with Studio(urls[0], output_dir=tmp_path) as studio:
            batch = await studio.batch([ImageRequest(prompt="fox", width=64, height=64)])
            while not server.generations["fox"]:  # noqa: ASYNC110 - nothing tells of a request but the count
                await asyncio.sleep(0)
        server.reply, server.breaks = b"", "end"  # from now on it breaks off
        async with Studio(urls[0], output_dir=tmp_path, outage_timeout=1.0) as studio:
            journal = studio._batches._context.journal
            [item] = journal.read(lambda queries: queries.items_after(1, -1, 1))
            assert (item.state, item.outcome) == (ItemState.WAITING, {"generations": 1})
            again = await studio.resume(batch.id)
            await again.wait()
    assert (server.generations["fox"], again.progress.failed) == (2, 1)
