"""A request takes the connection that was used last, and no other one is looked at."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from vllm_omni_client._transport.connection_stack import ConnectionStack

REQUEST = httpx.Request("GET", "http://server/")


class Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"body"


class Connection(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.requests = 0
        self.closed = False
        self.error: Exception | None = None
        self.closing = asyncio.Event()
        self.closing.set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return httpx.Response(200, stream=Body())

    async def aclose(self) -> None:
        await self.closing.wait()
        self.closed = True


class Scene:
    """A stack, all connections that it has opened, and its clock."""

    def __init__(self, *, most_idle: int = 10) -> None:
        self.now = 100.0
        self.opened: list[Connection] = []
        self.stack = ConnectionStack(
            self.open(), self.open, most_idle=most_idle, idle_seconds=3.0, clock=lambda: self.now
        )

    def open(self) -> Connection:
        self.opened.append(Connection())
        return self.opened[-1]

    async def begin(self) -> httpx.Response:
        return await self.stack.handle_async_request(REQUEST)

    @property
    def counts(self) -> list[int]:
        return [connection.requests for connection in self.opened]


async def test_successive_requests_use_one_connection() -> None:
    scene = Scene()
    for _ in range(3):
        response = await scene.begin()
        assert [part async for part in response.aiter_raw()] == [b"body"]
        await response.aclose()
    assert scene.counts == [3]


async def test_simultaneous_requests_have_a_connection_each_and_the_last_freed_is_used_next() -> None:
    scene = Scene()
    first, second, third = [await scene.begin() for _ in range(3)]
    for response in (third, first, second):
        await response.aclose()
    await scene.begin()
    assert scene.counts == [1, 2, 1]


async def test_connections_that_were_idle_for_too_long_are_closed() -> None:
    scene = Scene()
    first, second = [await scene.begin() for _ in range(2)]
    await first.aclose()
    scene.now += 4.0
    await second.aclose()
    assert [connection.closed for connection in scene.opened] == [True, False]


async def test_while_an_old_one_is_closed_others_can_be_used() -> None:
    scene = Scene(most_idle=1)
    responses = [await scene.begin() for _ in range(3)]
    for connection in scene.opened:
        connection.closing.clear()
    tasks = [asyncio.create_task(response.aclose()) for response in responses]
    await asyncio.sleep(0)
    await scene.begin()
    for connection in scene.opened:
        connection.closing.set()
    await asyncio.gather(*tasks)
    assert scene.counts == [1, 1, 2]


async def test_no_more_than_allowed_are_kept() -> None:
    scene = Scene(most_idle=2)
    responses = [await scene.begin() for _ in range(4)]
    for response in responses:
        await response.aclose()
    assert [connection.closed for connection in scene.opened] == [True, True, False, False]


async def test_a_failed_or_cancelled_request_returns_its_connection() -> None:
    scene = Scene()
    [connection] = scene.opened
    connection.error = httpx.ReadError("broken")
    with pytest.raises(httpx.ReadError):
        await scene.begin()
    connection.error = None
    connection.gate.clear()
    task = asyncio.create_task(scene.begin())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    connection.gate.set()
    await (await scene.begin()).aclose()
    assert scene.counts == [3]


async def test_closing_closes_connections_in_use_too() -> None:
    scene = Scene()
    await scene.begin()
    await (await scene.begin()).aclose()
    await scene.stack.aclose()
    assert [connection.closed for connection in scene.opened] == [True, True]
