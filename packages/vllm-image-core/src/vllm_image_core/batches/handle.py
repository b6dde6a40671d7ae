"""Batch handle: start, read, watch, cancel and drain a batch; it runs whether or not anybody reads it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vllm_omni_client.errors import OmniError

from vllm_image_core.batch_file.request_rows import RefusedRow
from vllm_image_core.batches.batch_row import BatchId
from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.events import Event, Events, EventStream
from vllm_image_core.batches.forecast import BatchForecast
from vllm_image_core.batches.item_states import ImageOutcome, ItemStates, Progress
from vllm_image_core.batches.items import State
from vllm_image_core.batches.notebook_cell import CellRun, explained
from vllm_image_core.batches.outcomes import Errors, Images, OutcomeReader
from vllm_image_core.batches.ranking import Rank, Ranking
from vllm_image_core.batches.results import Results
from vllm_image_core.batches.runner import BatchRun
from vllm_image_core.display.card import Card, Displayed, time_text
from vllm_image_core.errors import BatchMoved, ImageError, InvalidRequest
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import folder_text

_REFUSED_SHOWN: Final = 5
_SHOWN: Final = 8
"""How many of its latest images a batch shows."""

_NEXT: Final = {
    "not started": "Start it with `await batch`, or read it with `async for outcome in batch`.",
    "running": "It continues in the background; `await batch.cancel()` stops it.",
    "over": "`batch.images` and `batch.errors` hold the outcomes by position.",
}
"""What to do with a batch in each state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedBatch:
    """A batch that is running, or that was found cancelled when it was resumed.

    Attributes:
        states: The states of its requests.
        run: The running batch; None if it was cancelled before.
        concurrency: How many images are generated at the same time.
        requests: All requests, with their seeds drawn, if they were given as a list.
        refused: The rows of a file or a data frame that cannot be used.
    """

    states: ItemStates
    run: BatchRun | None
    concurrency: int
    requests: Sequence[ImageRequest] = ()
    refused: Sequence[RefusedRow] = ()


Begin = Callable[[Events], Awaitable[StartedBatch]]
Forecast = Callable[[], Awaitable[BatchForecast]]


class ImageBatch(Displayed):
    """A batch of images; it starts when it is awaited, entered or read.

    - ``await batch`` checks the requests, records them in the folder's journal, and starts. The work
      continues in a task of the studio until it is done or cancelled, or the studio is closed.
    - ``async with batch:`` starts it; leaving the block cancels what is still running. Saved images stay.
    - ``async for outcome in batch`` starts it if necessary, and yields the outcomes as they complete, each
      of them once. A slow reader does not slow the work; its images are then read from their files.

    Created by ``Studio.batch`` and ``Studio.resume``. Use it only on the event loop on which it started.
    """

    def __init__(
        self,
        context: BatchContext,
        batch_id: BatchId,
        *,
        begin: Begin,
        again: Begin,
        forecast: Forecast | None = None,
        rank: Rank | None = None,
    ) -> None:
        self.id = batch_id
        self._forecast = forecast
        self._context = context
        self._begin = begin
        self._again = again
        self._events = Events()
        self._starting: asyncio.Future[StartedBatch] | None = None
        self._started = StartedBatch(states=ItemStates(window=0), run=None, concurrency=0)  # until it starts
        self._reader: OutcomeReader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._cell = CellRun.current()
        self._entered = False
        self._rank = rank
        self._ranking: Ranking | None = None

    def __await__(self) -> Generator[object, None, Self]:
        """Check the requests, record them, start, and return this batch.

        Raises:
            InvalidRequest: There are no requests, or one in a list does not fit the model; the notes give its
                position. Requests from an iterator that do not fit fail one by one instead.
            CannotSave: The folder cannot be written.
            OmniError: The server does not report its model.
            UnknownBatch: The batch to resume is not in this folder.
            BatchInUse: Another process is working on the batch to resume.
            JournalUnavailable: The folder's journal of batches cannot be read or written.
        """
        return self._start().__await__()

    async def __aenter__(self) -> Self:
        self._entered = True
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()
        if error is None:
            self._raise_error()

    async def __aiter__(self) -> AsyncIterator[ImageOutcome]:
        """Yield outcomes as they complete; ``index`` is the request's position."""
        await self._start()
        with explained(self._what_goes_on):
            while (outcome := await self._outcomes.next()) is not None:
                yield outcome
        self._raise_error()
        await self._rank_images()

    def results(self) -> Results:
        """All outcomes in the order of the requests, to iterate over or as a data frame; see ``Results``."""
        return Results(self, lambda: self._outcomes)

    async def forecast(self) -> BatchForecast:
        """Check the requests of a new batch, and estimate its time and disk space, without starting it.

        Raises:
            InvalidRequest: The batch was resumed, its requests are not a list, or one does not fit the model.
            OmniError: The server does not report its model.
        """
        if self._forecast is None:
            raise InvalidRequest(
                "A resumed batch has no forecast.",
                parameter="batch",
                value=self.id,
                allowed="a new batch",
                next_step="See its eta once it has started.",
            )
        return await self._forecast()

    @property
    def requests(self) -> Sequence[ImageRequest]:
        """The requests with their seeds, if they were given as a list; empty before the batch starts."""
        return self._started.requests

    @property
    def refused(self) -> Sequence[RefusedRow]:
        """The rows of a file or a data frame that cannot be used; the others are generated."""
        return tuple(self._started.refused)

    @property
    def concurrency(self) -> int:
        """How many images are generated at the same time; 0 before the batch starts."""
        return self._started.concurrency

    @property
    def progress(self) -> Progress:
        """The counts at this moment."""
        return self._started.states.progress

    @property
    def eta(self) -> Eta:
        """Estimated time left, and what the estimate is based on."""
        if self._reader is None:
            return Eta(seconds=None, basis="the batch has not started")
        if self._started.run is None:
            return Eta(seconds=0.0, basis="the batch is over")
        return self._started.run.eta

    @property
    def over(self) -> bool:
        """Whether the batch has ended; outcomes may still be unread."""
        return self._reader is not None and (self._started.run is None or self._started.run.over.is_set())

    @property
    def idle(self) -> bool:
        """Whether no work is being done: the batch has not started, failed to start, or is over."""
        if self._reader is None:
            return self._starting is None or self._starting.done()
        return self.over

    def forget_images(self) -> None:
        """Drop the images that are still in memory, so that many ended batches need little of it.

        Whoever reads them again gets them from their files.
        """
        self._started.states.forget_images()

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before it was done."""
        return self._started.states.cancelled

    @property
    def cause(self) -> str | None:
        """Why it is paused, or why it was stopped."""
        run = self._started.run
        return run.recorder.cause if run else None

    @property
    def trouble(self) -> ImageError | OmniError | None:
        """The error the batch is waiting out, or None if it is not waiting."""
        run = self._started.run
        return run.recorder.trouble if run else None

    @property
    def running_at_cancel(self) -> int:
        """How many images were in progress when it was cancelled; a GPU may still have finished them."""
        run = self._started.run
        return run.recorder.left_running if run else 0

    @property
    def unfinished_count(self) -> int:
        """How many of the recorded requests are neither saved nor failed."""
        states = self._started.states
        return states.recorded - states.done_count - states.failed_count

    @property
    def unread(self) -> int:
        """How many outcomes have not been read yet."""
        return self._started.states.unread

    @property
    def seconds(self) -> float:
        """Seconds since it started or was resumed, up to its end."""
        run = self._started.run
        return run.seconds if run else 0.0

    @property
    def images(self) -> Mapping[int, GeneratedImage]:
        """Saved images by request position; each is read from its file on access."""
        return Images(self._reader) if self._reader else {}

    @property
    def errors(self) -> Mapping[int, Exception]:
        """Errors of failed requests, by request position."""
        return Errors(self._reader) if self._reader else {}

    @property
    def ranking(self) -> Ranking:
        """Its images with their scores, the best first; empty before it is over, or without a score."""
        return self._ranking or ()

    @property
    def output_dir(self) -> Path:
        """The folder of its images, as an absolute path."""
        return self._context.library.root

    def outcome(self, index: int) -> ImageOutcome | None:
        """The outcome of the request at this position, without waiting for it; None if it has none yet."""
        return self._reader.read(index) if self._reader else None

    def state(self, index: int) -> State:
        """The state of the request at this position.

        Raises:
            IndexError: The batch has no such request, or has not started.
        """
        return self._started.states.state(index)

    def events(self) -> EventStream:
        """Events from now on, as an async iterator; at most 10,000 unread events are kept.

        Reading it starts the batch if necessary, and ends immediately if the batch is over.
        """
        stream = self._events.stream(begin=self._start)
        if self.over:
            stream.close()
        return stream

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call a function at each event. Exceptions from it are logged, and counted in `listener_errors`."""
        self._events.listen(listener)

    @property
    def listener_errors(self) -> int:
        """How many listener calls have raised."""
        return self._events.errors

    async def cancel(self) -> Progress:
        """Stop sending, cancel requests in progress, and return the final counts.

        Saved images stay, and a batch that is over does not change. The GPU may still finish images that
        were in progress: see ``running_at_cancel``.
        """
        await self._stop("cancelled")
        return self.progress

    async def close(self) -> None:
        """Stop work on this batch immediately; it can be resumed."""
        await self._stop("closed")

    async def drain(self, seconds: float = 10.0) -> Progress:
        """Stop sending, let requests in progress finish within `seconds`, and leave the rest for later."""
        if self._started.run is not None:
            await self._started.run.drain(seconds)
        return self.progress

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the batch is over, and return whether it is; starts it if necessary."""
        await self._start()
        run = self._started.run
        if run is not None:
            with suppress(TimeoutError), explained(self._what_goes_on):
                async with asyncio.timeout(timeout_seconds):
                    await run.over.wait()
        if self.over:
            await self._rank_images()
        return self.over

    async def show(self) -> None:
        """Show the batch while it runs, until it is over; starts it if necessary.

        A notebook shows a progress bar and a table with the latest images, a terminal a progress bar. An
        interrupt ends the wait, not the batch.

        Raises:
            MissingPackage: tqdm is not installed.
        """
        from vllm_image_core.batches.live_view import LiveView  # noqa: PLC0415 - for people who watch alone

        view = LiveView(self)
        with explained(self._what_goes_on):
            await view.run()

    async def _rank_images(self) -> None:
        if self._rank is not None and self._ranking is None:
            self._ranking = await self._rank(self.images)

    async def retry_failed(self) -> int:
        """Queue the failed requests again, and return how many there are.

        If the batch is over, it is resumed.

        Raises:
            LimitReached: They would exceed the limits; nothing has changed.
        """
        await self._start()
        run = self._started.run
        if run is not None and not self.over:
            queued = await run.retry_failed()
            if queued is not None:
                return queued
            await run.over.wait()
        count = len(self.errors)
        if count:
            self._take(await self._again(self._events))
        return count - len(self.errors)  # requests lost with a damaged journal stay failed

    def _card(self) -> Card:
        from vllm_image_core.display.thumbnails import Thumbnail  # noqa: PLC0415 - for notebooks alone

        counts, is_over = self.progress, self.over
        done = f"{counts.done:,} of {counts.total or '?'} done"
        failed = f", {counts.failed:,} failed" if counts.failed else ""
        state = "not started" if self._reader is None else "over" if is_over else "running"
        latest = sorted(self.images)[-_SHOWN:]
        return Card(
            title=f"{self.id}: {state}, {done}{failed}",
            facts={
                "time": time_text(self.seconds) if self.seconds else None,
                "time left": None if is_over or self._reader is None else str(self.eta).replace(" left", ""),
                "cause": self.cause,
                "folder": folder_text(self.output_dir),
            },
            notes=(*self._refused_notes(), _NEXT[state]),
            images=[Thumbnail(self.images[place].path, f"image {place}") for place in latest],
        )

    def _refused_notes(self) -> Iterator[str]:
        if self.refused:
            yield f"Refused {len(self.refused):,}: {' '.join(map(str, self.refused[:_REFUSED_SHOWN]))}"

    @property
    def _outcomes(self) -> OutcomeReader:
        if self._reader is None:
            raise RuntimeError("the batch has not started")
        return self._reader

    async def _start(self) -> Self:
        self._check_here()
        if self._starting is None or _has_failed(self._starting):
            self._starting = asyncio.ensure_future(self._begin_in_cell())
            self._starting.add_done_callback(self._on_started)
        with explained(self._what_goes_on):
            await asyncio.shield(self._starting)
        return self

    async def _begin_in_cell(self) -> StartedBatch:
        if self._cell is not None:
            await self._cell.begin(self)
        return await self._begin(self._events)

    def _what_goes_on(self) -> tuple[str, ...]:
        """What a notebook says when the wait for this batch is interrupted."""
        counts = f"{self.progress.done:,} of {self.progress.total or '?'} images are done"
        if self._entered:
            return (f"Interrupted: {counts}.", f"Leaving `async with` cancels {self.id}; saved images stay.")
        return (
            f"Interrupted: you no longer wait for {self.id}.",
            f"It continues in the background: {counts}.",
            "Stop it: await batch.cancel(). Wait for it again: await batch.show().",
            f'Later, or after a restart of the kernel: studio.resume("{self.id}").',
        )

    def _on_started(self, starting: asyncio.Future[StartedBatch]) -> None:
        if not starting.cancelled() and starting.exception() is None:
            self._take(starting.result())

    def _take(self, started: StartedBatch) -> None:
        before = self._started
        self._started = (
            replace(started, requests=before.requests, refused=before.refused) if self._reader else started
        )
        self._reader = OutcomeReader(self._context, self.id, started.states, started.run)
        if started.run is None:  # it was cancelled before
            self._events.emit("ended")
            self._events.close()

    def _check_here(self) -> None:
        """Refuse use after a fork, or from another event loop."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._process != os.getpid() or self._loop is not loop:
            where = "process" if self._process != os.getpid() else "event loop"
            raise BatchMoved(f"Batch {self.id} was started in another {where}.")

    async def _stop(self, why: str) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        run = self._started.run
        if run is not None:
            await run.stop("cancelled" if why == "cancelled" else "closed")

    def _raise_error(self) -> None:
        run = self._started.run
        if run is not None and run.error is not None:
            error, run.error = run.error, None
            raise error


def _has_failed(starting: asyncio.Future[StartedBatch]) -> bool:
    return starting.done() and (starting.cancelled() or starting.exception() is not None)
