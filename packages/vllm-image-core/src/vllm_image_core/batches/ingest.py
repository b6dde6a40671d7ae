"""Where the requests of a batch come from: pulled in bites that grow, so that the first is sent at once."""

import asyncio
import contextvars
import queue
import threading
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final, overload

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import shown

__all__ = [
    "MOST",
    "SeededRequests",
    "Source",
    "check_request",
    "check_source",
    "chunks",
    "pull_chunks",
]


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


async def pull_chunks(
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
        chunk = _chunk(rest, most, clock)
        if not chunk:
            return
        seconds = clock() - before
        blocked = [*blocked, seconds] if seconds >= _SLOW_SECONDS else []
        yield chunk
        most = min(MOST, 2 * most)
        await asyncio.sleep(0)
    thread = _Thread(rest, clock)
    try:
        while chunk := await thread.chunk(most):
            yield chunk
            most = min(MOST, 2 * most)
    finally:
        thread.close()


def _chunk(rest: Iterator[ImageRequest], most: int, clock: Clock) -> list[ImageRequest]:
    chunk: list[ImageRequest] = []
    until = clock() + _LONGEST_SECONDS
    for request in rest:
        chunk.append(request)
        if len(chunk) >= most or clock() > until:
            break
    return chunk


class _Thread:
    """The one thread that pulls an iterator from now on; held up, it keeps no process from ending."""

    def __init__(self, rest: Iterator[ImageRequest], clock: Clock) -> None:
        self._rest = rest
        self._clock = clock
        self._asked: queue.SimpleQueue[tuple[int, Future[list[ImageRequest]]] | None] = queue.SimpleQueue()
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name="requests of a batch", daemon=True).start()

    async def chunk(self, most: int) -> list[ImageRequest]:
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
                taken.set_result(_chunk(self._rest, most, self._clock))
            except BaseException as error:  # noqa: BLE001 - the caller's own iterator: whatever it raises is told
                error.add_note(_NOTE)
                taken.set_exception(error)


Source = Iterable[ImageRequest] | AsyncIterable[ImageRequest]

_ALLOWED: Final = "a list or an iterator of ImageRequest or EditRequest"


def check_source(source: object) -> None:
    """Refuse what no requests come from, such as one request alone or a text.

    Raises:
        InvalidRequest: It is neither a list nor an iterator.
    """
    if isinstance(source, (str, bytes)) or not isinstance(source, (Iterable, AsyncIterable)):
        raise _no_request(source, f"A batch is made of {_ALLOWED}, and of no {type(source).__name__}.")


def check_request(request: object, position: int) -> None:
    """Refuse an entry of a batch that is no request.

    Raises:
        InvalidRequest: It is none.
    """
    if not isinstance(request, ImageRequest):
        raise _no_request(
            request,
            f"Entry {position} of the batch, counted from 0, is {shown(request)}: no ImageRequest and no "
            "EditRequest.",
        )


def _no_request(value: object, message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        parameter="requests",
        value=value,
        allowed=_ALLOWED,
        next_step='Write ImageRequest(prompt="...") for each picture.',
    )


class SeededRequests(Sequence[ImageRequest]):
    """The caller's own requests with the seeds that were drawn for them; no generation is copied.

    Args:
        requests: The caller's.
    """

    def __init__(self, requests: Sequence[ImageRequest]) -> None:
        self._requests = requests
        self._seeds = array("q")
        self._drawn = bytearray()
        self._edits: dict[int, EditRequest] = {}

    def draw(self, seed: int, *, drawn: bool, edit: EditRequest | None = None) -> None:
        """Set the seed of the next request; `edit` takes its place where its pictures are kept."""
        if edit is not None:
            self._edits[len(self._seeds)] = edit
        self._seeds.append(seed)
        self._drawn.append(drawn)

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[ImageRequest]:
        return (self[place] for place in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> ImageRequest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRequest]: ...
    def __getitem__(self, index: int | slice) -> ImageRequest | Sequence[ImageRequest]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        request, seed = self._edits.get(place) or self._requests[place], self._seeds[place]
        return replace(request, seed=seed, seed_drawn=bool(self._drawn[place]))


async def chunks(source: Source) -> AsyncGenerator[list[ImageRequest]]:
    """The requests, some at a time: one at first, then twice as many each time, up to 500.

    Those of an async source come as soon as there is one, however long the next may take. Those of an
    iterator do, too, once it has blocked.

    Raises:
        InvalidRequest: Something else came than a request.
    """
    some, count = _pump(source) if isinstance(source, AsyncIterable) else pull_chunks(source), 0
    try:
        async for chunk in some:
            for position, request in enumerate(chunk, count):
                check_request(request, position)
            count += len(chunk)
            yield chunk
    finally:
        await some.aclose()


async def _pump(source: AsyncIterable[ImageRequest]) -> AsyncGenerator[list[ImageRequest]]:
    most, pile = 1, list[ImageRequest]()
    news, room = asyncio.Event(), asyncio.Event()

    async def pump() -> None:
        async for request in source:
            pile.append(request)
            news.set()
            if len(pile) >= most:
                room.clear()
                await room.wait()

    pumping = asyncio.create_task(pump())
    pumping.add_done_callback(lambda _: news.set())
    try:
        while not pumping.done() or pile:
            await news.wait()
            news.clear()
            chunk, pile = pile, []
            most = min(MOST, 2 * most)
            room.set()
            if chunk:
                yield chunk
        pumping.result()
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])
