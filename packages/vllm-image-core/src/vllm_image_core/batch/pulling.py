"""Pulling: requests taken from an iterator, on the event loop while it is quick, in a thread once it blocks.

An iterator may be bound to its caller's thread, as a cursor of sqlite3 is. So it is pulled there, unless it
has shown that it holds up everything else, by waiting for a disk, a network or a clock.
"""

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Final

from vllm_image_core.request import ImageRequest

__all__ = ["MOST", "pulled"]

MOST: Final = 500
"""Requests that are taken at once."""

_LONGEST_SECONDS: Final = 0.005
"""How long the event loop may wait for requests that are computed one by one."""

_SLOW_SECONDS: Final = 0.05
"""A pull that takes so long has blocked; a single one may have opened a file, or met a busy machine."""

_BLOCKED_SECONDS: Final = 0.2
"""An iterator that blocks several times in a row, for so long together, is pulled in a thread."""

_IN_A_ROW: Final = 2

_NOTE: Final = (
    "The iterator had blocked the event loop, and is pulled in a thread since then. One that is bound to its "
    "own thread can be given as a list, or as an async iterator."
)

Clock = Callable[[], float]


async def pulled(
    source: Iterable[ImageRequest], *, clock: Clock = time.monotonic
) -> AsyncGenerator[list[ImageRequest]]:
    """The requests, some at a time: one at first, then twice as many each time, up to `MOST`.

    Args:
        source: Pulled by one thread at a time.
        clock: Seconds on a clock that never goes back.
    """
    most, rest = 1, iter(source)
    blocked: list[float] = []
    while len(blocked) < _IN_A_ROW or sum(blocked) < _BLOCKED_SECONDS:
        before = clock()
        bite = _bite(rest, most, clock)
        if not bite:
            return
        seconds = clock() - before
        blocked = [*blocked, seconds] if seconds >= _SLOW_SECONDS else []
        yield bite
        most = min(MOST, 2 * most)
        await asyncio.sleep(0)
    thread = _Thread(rest, clock)
    try:
        while bite := await thread.bite(most):
            yield bite
            most = min(MOST, 2 * most)
    finally:
        thread.close()


def _bite(rest: Iterator[ImageRequest], most: int, clock: Clock) -> list[ImageRequest]:
    bite: list[ImageRequest] = []
    until = clock() + _LONGEST_SECONDS
    for request in rest:
        bite.append(request)
        if len(bite) >= most or clock() > until:
            break
    return bite


class _Thread:
    """The one thread that pulls an iterator from now on; held up, it keeps no process from ending."""

    def __init__(self, rest: Iterator[ImageRequest], clock: Clock) -> None:
        self._rest = rest
        self._clock = clock
        self._asked: queue.SimpleQueue[tuple[int, Future[list[ImageRequest]]] | None] = queue.SimpleQueue()
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name="requests of a batch", daemon=True).start()

    async def bite(self, most: int) -> list[ImageRequest]:
        """The next requests, none at the end."""
        taken: Future[list[ImageRequest]] = Future()
        self._asked.put((most, taken))
        return await asyncio.wrap_future(taken)

    def close(self) -> None:
        """Pull no more after what is being pulled."""
        self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            most, taken = asked
            if not taken.set_running_or_notify_cancel():
                continue
            try:
                taken.set_result(_bite(self._rest, most, self._clock))
            except BaseException as error:  # noqa: BLE001 - the caller's own iterator: whatever it raises is told
                error.add_note(_NOTE)
                taken.set_exception(error)
