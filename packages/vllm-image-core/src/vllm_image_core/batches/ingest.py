"""Ingest requests from a list or iterator in growing chunks, so that the first one is sent immediately."""

import asyncio
import contextvars
import queue
import threading
import time
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final, overload

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.estimation.work import Work
from vllm_image_core.generation.generator import Generator
from vllm_image_core.generation.job import ResolvedJob
from vllm_image_core.requests.image_request import ImageRequest

MOST: Final = 500
"""Largest chunk of requests."""

_MOST_KEPT: Final = 1000
_MOST_KEPT_BYTES: Final = 2**26
"""64 MiB of input images."""

_LONGEST_SECONDS: Final = 0.005
"""How long pulling one chunk may occupy the event loop."""

_SLOW_SECONDS: Final = 0.05
"""A pull that takes this long has blocked. Once proves nothing: it may have opened a file."""

_BLOCKED_SECONDS: Final = 0.2
"""An iterator that blocks for this long in total, several times in a row, is moved to a thread."""

_IN_A_ROW: Final = 2

_NOTE: Final = (
    "The iterator blocked the event loop, so it was moved to a thread. If it only works on its own thread, "
    "pass a list or an async iterator instead."
)

Clock = Callable[[], float]


async def pull_chunks(
    source: Iterable[ImageRequest], *, clock: Clock = time.monotonic
) -> AsyncGenerator[list[ImageRequest]]:
    """Yield the requests in chunks: one at first, then twice as many each time, up to `MOST`.

    Args:
        source: Pulled by one thread at a time.
        clock: A monotonic clock, in seconds.
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
    """Thread that pulls an iterator from now on; a daemon, so that it never keeps the process alive."""

    def __init__(self, rest: Iterator[ImageRequest], clock: Clock) -> None:
        self._rest = rest
        self._clock = clock
        self._jobs: queue.SimpleQueue[tuple[int, Future[list[ImageRequest]]] | None] = queue.SimpleQueue()
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name="requests of a batch", daemon=True).start()

    async def chunk(self, most: int) -> list[ImageRequest]:
        """The next requests; an empty list at the end."""
        result: Future[list[ImageRequest]] = Future()
        self._jobs.put((most, result))
        return await asyncio.wrap_future(result)

    def close(self) -> None:
        """Stop pulling after the current chunk."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            most, result = job
            if not result.set_running_or_notify_cancel():
                continue
            try:
                result.set_result(_chunk(self._rest, most, self._clock))
            except BaseException as error:  # noqa: BLE001 - the caller's own iterator: whatever it raises is passed on
                error.add_note(_NOTE)
                result.set_exception(error)


Source = Iterable[ImageRequest] | AsyncIterable[ImageRequest]

_ALLOWED: Final = "a list or an iterator of ImageRequest or EditRequest"
_YIELD_EVERY: Final = 500
"""Requests to check before yielding to the event loop."""


def check_source(source: object) -> None:
    """Refuse a source that is not a collection of requests, such as a single request or a string.

    Raises:
        InvalidRequest: It is neither a list nor an iterator.
    """
    if isinstance(source, (str, bytes)) or not isinstance(source, (Iterable, AsyncIterable)):
        raise _no_request(source, f"A batch takes {_ALLOWED}, not {type(source).__name__}.")


async def check_requests(
    requests: Sequence[ImageRequest], generator: Generator
) -> AsyncGenerator[tuple[int, ResolvedJob]]:
    """Check the requests of a list against the loaded model, and yield each as a job with its position.

    Raises:
        InvalidRequest: There are none, or one does not fit the model; a note gives its position.
        OmniError: The server does not report its model.
    """
    if not requests:
        raise InvalidRequest(
            "A batch needs at least one request.", parameter="requests", value=0, allowed="1 or more"
        )
    for position, request in enumerate(requests):
        try:
            job = await generator.check(request)
        except InvalidRequest as error:
            if len(requests) > 1:
                error.add_note(f"This is entry {position} of the batch, counted from 0; nothing was sent.")
            raise
        yield position, job
        if position % _YIELD_EVERY == _YIELD_EVERY - 1:
            await asyncio.sleep(0)


def _no_request(value: object, message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        parameter="requests",
        value=value,
        allowed=_ALLOWED,
        next_step='Use ImageRequest(prompt="...") for each image.',
    )


class CheckedJobs:
    """The checked requests of a batch: what they cost, and the first of them as they were resolved.

    Attributes:
        pixels: Pixels of all images together.
        works: How many images have each work.
    """

    def __init__(self) -> None:
        self.pixels: int = 0
        self.works: Counter[Work] = Counter()
        self._kept: dict[int, ResolvedJob] = {}
        self._kept_bytes = 0

    def add(self, position: int, job: ResolvedJob) -> None:
        """Add a checked request; it is kept until it is sent if there is room for it."""
        self.pixels += job.resolved.pixels
        self.works[job.work] += 1
        size = _input_bytes(job)
        if len(self._kept) < _MOST_KEPT and self._kept_bytes + size <= _MOST_KEPT_BYTES:
            self._kept[position] = job
            self._kept_bytes += size

    def take(self, position: int) -> ResolvedJob | None:
        """Remove and return a resolved request; None if it was not kept and has to be resolved again."""
        job = self._kept.pop(position, None)
        if job is not None:
            self._kept_bytes -= _input_bytes(job)
        return job


def _input_bytes(job: ResolvedJob) -> int:
    if job.request.task != "edit":
        return 0
    return sum(one.picture.length for _, one in job.resolved.inputs_by_role)


class SeededRequests(Sequence[ImageRequest]):
    """The caller's requests together with the seeds drawn for them; only edits are copied.

    Args:
        requests: The caller's own.
    """

    def __init__(self, requests: Sequence[ImageRequest]) -> None:
        self._requests = requests
        self._seeds = array("q")
        self._drawn = bytearray()
        self._edits: dict[int, ImageRequest] = {}

    def add(self, checked: ImageRequest) -> None:
        """Set the seed of the next request, and the input images of an edit as they are stored."""
        if checked.task == "edit":
            self._edits[len(self._seeds)] = checked
        self._seeds.append(checked.seed or 0)
        self._drawn.append(checked.seed_drawn)

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
    """Yield the requests in chunks: one at first, then twice as many each time, up to 500.

    An async source yields as soon as it has one request, however long the next may take; so does an iterator
    once it was moved to a thread.
    """
    some = _pump(source) if isinstance(source, AsyncIterable) else pull_chunks(source)
    try:
        async for chunk in some:
            yield chunk
    finally:
        await some.aclose()


async def _pump(source: AsyncIterable[ImageRequest]) -> AsyncGenerator[list[ImageRequest]]:
    most, pending = 1, list[ImageRequest]()
    arrived, drained = asyncio.Event(), asyncio.Event()

    async def pump() -> None:
        async for request in source:
            pending.append(request)
            arrived.set()
            if len(pending) >= most:
                drained.clear()
                await drained.wait()

    pumping = asyncio.create_task(pump())
    pumping.add_done_callback(lambda _: arrived.set())
    try:
        while not pumping.done() or pending:
            await arrived.wait()
            arrived.clear()
            chunk, pending = pending, []
            most = min(MOST, 2 * most)
            drained.set()
            if chunk:
                yield chunk
        pumping.result()
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])
