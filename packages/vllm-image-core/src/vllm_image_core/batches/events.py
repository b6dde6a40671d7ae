"""What happens in a batch, as events: cheap where nobody listens, bounded where somebody listens slowly."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

__all__ = ["Event", "EventKind", "EventStream", "Events"]

_logger = logging.getLogger(__name__)

EventKind = Literal["queued", "started", "done", "failed", "reused", "retried", "paused", "resumed", "ended"]

_MOST_UNREAD: Final = 10_000
"""More events than these are not kept for one who does not read them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What: a request was recorded (`queued`), sent (`started`), saved (`done`), found in the folder
            (`reused`), has failed (`failed`), is tried again (`retried`); the batch waits (`paused`), goes on
            (`resumed`), is over (`ended`).
        index: The request's position; None where the batch as a whole is meant.
        message: Why, where there is a reason.
        missed: How many events were dropped before this one, because they were not read in time.
    """

    kind: EventKind
    index: int | None = None
    message: str | None = None
    missed: int = 0


class EventStream:
    """The events of a batch from now on; an async iterator that ends when the batch is over.

    Args:
        leave: Called when the stream is closed.
        begin: Awaited before the first event: a batch that nobody has begun would never end.
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
        """End the stream; what is unread can still be read."""
        self._closed = True
        self._news.set()
        self._leave(self)

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def tell(self, event: Event) -> None:
        """Add an event; the oldest unread one is dropped where there are too many."""
        if len(self._unread) >= _MOST_UNREAD:
            self._unread.popleft()
            self._missed += 1
        self._unread.append(event)
        self._news.set()


class Events:
    """Who listens to a batch.

    Attributes:
        errors: How many calls of listeners have raised; none of them harms the batch.
    """

    def __init__(self) -> None:
        self.errors: int = 0
        self._streams: list[EventStream] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._heard = False

    def stream(self, *, begin: Callable[[], Awaitable[object]] | None = None) -> EventStream:
        """The events from now on; `begin` is awaited before the first is."""
        stream = EventStream(self._forget, begin=begin)
        self._streams.append(stream)
        self._heard = True
        return stream

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call somebody at each event, on the event loop; what the call raises is logged and counted."""
        self._listeners.append(listener)
        self._heard = True

    def tell(self, kind: EventKind, index: int | None = None, message: str | None = None) -> None:
        """Tell all that listen."""
        if not self._heard:
            return
        event = Event(kind, index, message)
        for stream in self._streams:
            stream.tell(event)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # a listener's own affair: the batch goes on
                self.errors += 1
                _logger.exception("A listener of a batch has failed at the event %s", kind)

    def close(self) -> None:
        """End all streams."""
        for stream in list(self._streams):
            stream.close()

    def _forget(self, stream: EventStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        self._heard = bool(self._streams or self._listeners)
