"""Keep idle connections in a stack, so that a request costs the same however many are open.

httpcore's pool walks over all of its connections when a request begins and again when it ends. So each pool
here has one connection, and a request takes the pool that was used last.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx


class ConnectionStack(httpx.AsyncBaseTransport):
    """A transport that sends each request over a transport of its own, and reuses those that are free.

    Args:
        first: The first of them; more are opened when they are needed.
        open_another: Opens another one.
        most_idle: How many free ones are kept.
        idle_seconds: How long a free one is kept.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        first: httpx.AsyncBaseTransport,
        open_another: Callable[[], httpx.AsyncBaseTransport],
        *,
        most_idle: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_another = open_another
        self._most_idle = most_idle
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._idle = deque([(clock(), first)])
        self._busy: set[httpx.AsyncBaseTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over the connection that was used last."""
        connection = self._idle.pop()[1] if self._idle else self._open_another()
        self._busy.add(connection)

        async def release() -> None:
            await self._release(connection)

        async with AsyncExitStack() as cleanup:  # even if cancelled: the connection itself is closed then
            cleanup.push_async_callback(release)
            response = await connection.handle_async_request(request)
            cleanup.pop_all()
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("the transport's response cannot be read asynchronously")
        response.stream = _Body(response.stream, release)
        return response

    async def aclose(self) -> None:
        """Close all connections, including those in use."""
        connections = [*self._busy, *(connection for _, connection in self._idle)]
        self._idle.clear()
        for connection in connections:
            await connection.aclose()

    async def _release(self, connection: httpx.AsyncBaseTransport) -> None:
        """Keep a connection for the next request, and close those that have been idle for too long."""
        self._busy.discard(connection)
        now = self._clock()
        self._idle.append((now, connection))
        old: list[httpx.AsyncBaseTransport] = []
        while len(self._idle) > self._most_idle or self._idle[0][0] < now - self._idle_seconds:
            old.append(self._idle.popleft()[1])
        for each in old:  # others may come and go meanwhile
            await each.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response; `release` is called once it has been closed."""

    def __init__(self, stream: httpx.AsyncByteStream, release: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._release = release

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._release()
