"""An image costs two requests at most, through every interface; counted where the requests arrive.

What the client does alone is in the client's own tests, and what the errors say is in the MCP server's.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import Client
from mcp.types import CallToolResult, TextContent
from vllm_image_core import EditRequest, ImageRequest, Studio
from vllm_image_core.batches.items import Done
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_mcp.cli import main
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client import OmniError

DEADLINE_SECONDS = 60
SILENCE_SECONDS = 0.3
ATTEMPTS = re.compile(r"(?:Tried|took) (\d+) (?:times|attempts)\.")

Misbehave = Callable[..., Any]
Replies = Mapping[str, str]
"""What a door said of the image of each prompt: its error, or its notes."""


@dataclass(frozen=True)
class Order:
    """What an interface is called with.

    Attributes:
        urls: The servers.
        folder: Where the images go.
        image: The file to edit.
        timeout: The time limit for one image, in seconds.
    """

    urls: list[str]
    folder: Path
    image: Path
    timeout: float


Door = Callable[[Order], Awaitable[Replies]]


def attempts_in(text: str) -> int:
    """How many attempts a text mentions; one if it names no number."""
    found = ATTEMPTS.search(text)
    return int(found[1]) if found else 1


def text_of(error: Exception) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def fox(prompt: str) -> ImageRequest:
    return ImageRequest(prompt=prompt, width=64, height=64)


def studio_for(order: Order) -> Studio:
    [first, *others] = order.urls
    servers = [first, *others] if others else first
    return Studio(servers, output_dir=order.folder, timeout=order.timeout, outage_timeout=0.5)


def check_fields(error: OmniError) -> None:
    attempts = attempts_in(text_of(error))
    assert error.exchange
    assert (error.exchange.attempts, len(error.failures) + 1) == (attempts, attempts)
    assert error.exchange.generations <= 2


async def reply_of(image: Awaitable[GeneratedImage]) -> Replies:
    """The notes of one image; or its error, whose fields must tell the same as its text."""
    try:
        return {"a fox": " ".join((await image).notes)}
    except OmniError as error:
        check_fields(error)
        return {"a fox": text_of(error)}


async def generate(order: Order) -> Replies:
    async with studio_for(order) as studio:
        return await reply_of(studio.generate("a fox", width=64, height=64))


async def edit(order: Order) -> Replies:
    async with studio_for(order) as studio:
        return await reply_of(studio.edit("a fox", order.image))


async def batch(order: Order) -> Replies:
    requests = [
        fox("a fox"),
        EditRequest(prompt="a red fox", images=order.image),
        fox("a blue fox"),
    ]
    async with studio_for(order) as studio:
        outcomes = [outcome async for outcome in await studio.batch(requests, max_concurrent=1)]
    return {
        each.item.prompt: " ".join(each.value.notes) if isinstance(each, Done) else text_of(each.error)
        for each in outcomes
    }


async def batch_of_one(order: Order) -> Replies:
    async with studio_for(order) as studio:
        [outcome] = [each async for each in await studio.batch([fox("a fox")])]
    return {"a fox": " ".join(outcome.value.notes) if isinstance(outcome, Done) else text_of(outcome.error)}


async def called(order: Order, tool: str, **arguments: object) -> CallToolResult:
    settings = Settings.from_arguments(
        vllm_url=",".join(order.urls), output_dir=order.folder, timeout=order.timeout
    )
    async with Client(build_server(settings), mode="auto", read_timeout_seconds=DEADLINE_SECONDS) as client:
        return await client.call_tool(tool, arguments)


def words_of(result: CallToolResult) -> str:
    return " ".join(content.text for content in result.content if isinstance(content, TextContent))


async def generate_image(order: Order) -> Replies:
    return {"a fox": words_of(await called(order, "generate_image", prompt="a fox", width=64, height=64))}


async def edit_image(order: Order) -> Replies:
    return {"a fox": words_of(await called(order, "edit_image", prompt="a fox", images=[str(order.image)]))}


async def batch_generate(order: Order) -> Replies:
    result = await called(order, "batch_generate", prompts=["a fox"], width=64, height=64)
    assert result.structured_content
    [image] = result.structured_content["results"]
    return {"a fox": image["error"] or words_of(result)}


async def output_of(order: Order, *arguments: str) -> Replies:
    options = [f"--vllm-url={','.join(order.urls)}", f"--output-dir={order.folder}"]
    command = [*arguments, *options, f"--timeout={order.timeout}"]
    result = await asyncio.to_thread(CliRunner().invoke, main, command, prog_name="vllm-image-mcp")
    return {"a fox": result.output}


async def command_generate(order: Order) -> Replies:
    return await output_of(order, "generate", "a fox", "--width=64", "--height=64")


async def command_edit(order: Order) -> Replies:
    return await output_of(order, "edit", "a fox", str(order.image))


async def command_batch(order: Order) -> Replies:
    file = order.folder / "prompts.txt"
    file.write_text("a fox\n", "utf-8")
    return await output_of(order, "batch", str(file), "--width=64", "--height=64")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the waits between attempts negligible."""
    monkeypatch.setattr("vllm_omni_client._protocol.retry._FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("vllm_image_core.fleet.server._PAUSE_SECONDS", 0.001)


@dataclass
class Street:
    """Interfaces in front of servers that misbehave."""

    misbehave: Misbehave
    folder: Path

    async def count(self, door: Door, fault: str, *, servers: int, times: int = 1_000) -> Counter[str]:
        """Call an interface; return the requests per prompt, if the interface reports the same."""
        those = [self.misbehave(fault, times) for _ in range(servers)]
        timeout = SILENCE_SECONDS if fault == "silence" else 20.0
        urls = [server.url for server in those]
        order = Order(urls=urls, folder=self.folder, image=self.folder / "input.png", timeout=timeout)
        async with asyncio.timeout(DEADLINE_SECONDS):
            replies = await door(order)
        counted = sum((server.generations for server in those), Counter[str]())
        assert {prompt: attempts_in(text) for prompt, text in replies.items()} == counted, replies
        return counted


@pytest.fixture
def street(misbehave: Misbehave, tmp_path: Path, image_bytes: bytes) -> Street:
    (tmp_path / "input.png").write_bytes(image_bytes)
    return Street(misbehave, tmp_path)


EVERYWHERE = (
    "a reset before a byte",
    "a reset after the headers",
    "a reset in mid-body",
    "an empty reply",
    "the end in mid-body",
    "silence",
    "500",
    "502",
)
"""The faults that may have cost an image, tried through each door."""

SERVERS = pytest.mark.parametrize("servers", [1, 3])
DOORS = pytest.mark.parametrize(
    ("door", "servers"),
    [
        *((door, count) for door in (edit, batch_of_one, batch) for count in (1, 3)),
        *((door, 1) for door in (generate_image, edit_image, batch_generate)),
        *((door, 1) for door in (command_generate, command_edit, command_batch)),
    ],
)


@SERVERS
async def test_an_image_that_always_fails_is_sent_twice_at_most_and_its_error_says_how_often(
    street: Street, costly_fault: str, servers: int
) -> None:
    counted = await street.count(generate, costly_fault, servers=servers)
    assert counted == {"a fox": 1 if costly_fault == "silence" else 2}  # silence takes all of the time


@DOORS
@pytest.mark.parametrize("fault", EVERYWHERE)
async def test_no_interface_sends_an_image_more_than_twice(
    street: Street, door: Door, servers: int, fault: str
) -> None:
    counted = await street.count(door, fault, servers=servers)
    assert set(counted.values()) == {1 if fault == "silence" else 2}


@SERVERS
@pytest.mark.parametrize("fault", ["a reset before a byte", "502", "a page"])
async def test_an_image_from_a_second_request_reports_both(street: Street, fault: str, servers: int) -> None:
    assert await street.count(generate, fault, servers=servers, times=1) == {"a fox": 2}


@SERVERS
async def test_an_image_that_would_fail_again_or_still_runs_is_not_sent_again(
    street: Street, final_fault: str, servers: int
) -> None:
    # A server that refuses access, or lacks the route, is skipped: that costs nothing.
    most = servers if final_fault in {"403", "501"} else 1
    counted = await street.count(generate, final_fault, servers=servers)
    assert 1 <= counted["a fox"] <= most


@DOORS
async def test_no_interface_repeats_an_image_after_a_proxy_timeout(
    street: Street, door: Door, servers: int
) -> None:
    assert set((await street.count(door, "504", servers=servers)).values()) == {1}


@SERVERS
async def test_an_image_that_is_always_refused_says_how_often(
    street: Street, refusal: str, servers: int
) -> None:
    assert (await street.count(generate, refusal, servers=servers))["a fox"] >= 3


@DOORS
@pytest.mark.parametrize("fault", ["408", "429", "429 with a wait", "503", "503 with a wait"])
async def test_a_refusal_costs_nothing_through_any_interface_and_the_image_says_how_often_it_was_sent(
    street: Street, door: Door, servers: int, fault: str
) -> None:
    counted = await street.count(door, fault, servers=servers, times=2)
    assert min(counted.values()) >= 3


async def test_a_refusal_by_each_of_two_servers_ends_nothing(street: Street) -> None:
    assert 2 <= (await street.count(generate, "408", servers=2, times=1))["a fox"] <= 3


async def test_the_time_limit_applies_to_an_image_and_not_to_each_server(street: Street) -> None:
    started = time.monotonic()
    assert await street.count(generate, "silence", servers=2) == {"a fox": 1}
    assert time.monotonic() - started < DEADLINE_SECONDS / 2


async def test_a_resumed_batch_knows_what_was_in_progress_when_its_process_ended(
    misbehave: Misbehave, tmp_path: Path
) -> None:
    server, other = misbehave("silence"), misbehave("an empty reply")
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with Studio(server.url, output_dir=tmp_path) as studio:
            batch = await studio.batch([fox("a fox")])
            while not server.generations["a fox"]:  # noqa: ASYNC110 - nothing tells of a request but the count
                await asyncio.sleep(0.01)
        server.fault = other.fault  # from now on it breaks off
        async with Studio(server.url, output_dir=tmp_path, outage_timeout=1.0) as studio:
            resumed = await studio.resume(batch.id)
            [outcome] = [each async for each in resumed]
    assert not isinstance(outcome, Done)
    assert (server.generations["a fox"], attempts_in(text_of(outcome.error))) == (2, 2)
