"""Batch events: publish what happens in a batch to streams and listeners, in bounded memory."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

_logger = logging.getLogger(__name__)

EventKind = Literal["queued", "started", "done", "failed", "reused", "retried", "paused", "resumed", "ended"]

_MOST_UNREAD: Final = 10_000
"""Maximum unread events that a stream keeps."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a batch.

    Attributes:
        kind: What happened: a request was recorded (`queued`), sent (`started`), saved (`done`), found in the
            folder (`reused`), has failed (`failed`) or is tried again (`retried`); the batch waits
            (`paused`), continues (`resumed`) or is over (`ended`).
        index: The request's position; None for an event of the batch itself.
        message: The reason, if there is one.
        missed: Number of events dropped before this one because they were not read in time.
    """

    kind: EventKind
    index: int | None = None
    message: str | None = None
    missed: int = 0


class EventStream:
    """Async iterator of a batch's events from now on; it ends when the batch is over.

    Args:
        leave: Called when the stream is closed.
        begin: Awaited before the first event, because a batch that was never started would never end.
    """

    def __init__(
        self,
        leave: Callable[["EventStream"], None],
        *,
        begin: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._leave = leave
        self._begin = begin
        self._unread: deque[Event] = deque()
        self._missed = 0
        self._news = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self._begin is not None and not self._closed:
            await self._begin()
            self._begin = None
        while not self._unread:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        missed, self._missed = self._missed, 0
        event = self._unread.popleft()
        return replace(event, missed=missed) if missed else event

    def close(self) -> None:
        """End the stream; unread events can still be read."""
        self._closed = True
        self._news.set()
        self._leave(self)

    async def aclose(self) -> None:
        """Same as `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def push(self, event: Event) -> None:
        """Add an event; drops the oldest unread one if there are too many."""
        if len(self._unread) >= _MOST_UNREAD:
            self._unread.popleft()
            self._missed += 1
        self._unread.append(event)
        self._news.set()


class Events:
    """The event streams and listeners of a batch.

    Attributes:
        errors: How many listener calls have raised; this never affects the batch.
    """

    def __init__(self) -> None:
        self.errors: int = 0
        self._streams: list[EventStream] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._has_audience = False

    def stream(self, *, begin: Callable[[], Awaitable[object]] | None = None) -> EventStream:
        """Open a stream of events from now on; `begin` is awaited before the first."""
        stream = EventStream(self._forget, begin=begin)
        self._streams.append(stream)
        self._has_audience = True
        return stream

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call a function on the event loop at each event; exceptions from it are logged and counted."""
        self._listeners.append(listener)
        self._has_audience = True

    def emit(self, kind: EventKind, index: int | None = None, message: str | None = None) -> None:
        """Send an event to all streams and listeners."""
        if not self._has_audience:
            return
        event = Event(kind, index, message)
        for stream in self._streams:
            stream.push(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # a boundary: listeners are the caller's code, and the batch continues
                self.errors += 1
                _logger.exception("A listener of a batch failed at the event %s", kind)

    def close(self) -> None:
        """End all streams."""
        for stream in list(self._streams):
            stream.close()

    def _forget(self, stream: EventStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        self._has_audience = bool(self._streams or self._listeners)
