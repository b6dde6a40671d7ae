"""Keep the idle connections of a blocking client, and tell each request which of them it uses.

A deadline can end a blocking read only by cutting its connection. httpcore's pool does not say which one a
request reuses before there is a reply, so each pool here has one connection.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import httpx

REUSED: Final = "pool.reused"
"""The trace event of a request that reuses a connection; its `return_value` is the connection's stream."""

RELEASED: Final = "pool.released"
"""The trace event of a request that lets go of its connection, before another one can take that."""


@dataclass(slots=True, eq=False)
class _Connection:
    transport: httpx.BaseTransport
    stream: object = None
    since: float = 0.0


class KeptConnections(httpx.BaseTransport):
    """A transport that sends each request over the connection that was used last; safe to share by threads.

    Args:
        open_another: Opens a connection.
        most_idle: How many free ones are kept.
        idle_seconds: How long a free one is kept.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        open_another: Callable[[], httpx.BaseTransport],
        *,
        most_idle: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_another = open_another
        self._most_idle = most_idle
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; raises httpx's errors."""
        connection = self._take()
        trace: Callable[[str, Mapping[str, object]], None] = request.extensions.get("trace", _ignore)
        if connection.stream is not None:
            trace(REUSED, {"return_value": connection.stream})
        with ExitStack() as failed:
            failed.callback(self._release_broken, connection)
            response = connection.transport.handle_request(request)
            failed.pop_all()
        if not isinstance(response.stream, httpx.SyncByteStream):
            raise TypeError("the transport's response cannot be read by blocking code")
        connection.stream = response.extensions.get("network_stream")

        def release() -> None:
            trace(RELEASED, {})
            self._release(connection)

        response.stream = _Body(response.stream, release)
        return response

    def close(self) -> None:
        """Close all connections, including those in use."""
        with self._lock:
            connections = [*self._busy, *self._idle]
            self._idle.clear()
        for each in connections:
            each.transport.close()

    def _take(self) -> _Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else _Connection(self._open_another())
            self._busy.add(connection)
        return connection

    def _release_broken(self, connection: _Connection) -> None:
        connection.stream = None
        self._release(connection)

    def _release(self, connection: _Connection) -> None:
        """Keep a connection for the next request, and close those that have been idle for too long."""
        now = self._clock()
        old: list[_Connection] = []
        with self._lock:
            self._busy.discard(connection)
            connection.since = now
            self._idle.append(connection)
            while len(self._idle) > self._most_idle or self._idle[0].since < now - self._idle_seconds:
                old.append(self._idle.popleft())
        for each in old:
            each.transport.close()


def _ignore(_: str, __: Mapping[str, object]) -> None:
    """Record nothing."""


class _Body(httpx.SyncByteStream):
    """The body of a response; `release` is called once it has been closed."""

    def __init__(self, stream: httpx.SyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        release, self._release = self._release, None
        try:
            self._stream.close()
        finally:
            if release is not None:
                release()
