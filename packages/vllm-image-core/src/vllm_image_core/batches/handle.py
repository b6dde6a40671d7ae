"""A batch of pictures: begun, read, watched and ended; the work goes on whether it is read or not."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.events import Event, Events, EventStream
from vllm_image_core.batches.item_states import ItemStates, PictureOutcome
from vllm_image_core.batches.outcomes import Errors, Images, OutcomeReader
from vllm_image_core.batches.runner import BatchRun
from vllm_image_core.batches.worker_pool import BatchId, Progress, State
from vllm_image_core.errors import BatchMoved, ImageError
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest

__all__ = ["ImageBatch", "StartedBatch"]

_NOTHING: Final = Progress(total=None, waiting=None, running=0, done=0, failed=0, cancelled=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedBatch:
    """A batch that is at work, or that had ended when it was taken up again.

    Attributes:
        states: What is known of its requests.
        run: The work; None for a batch that was cancelled before.
        at_once: How many pictures are under way at the same time.
        requests: All of them, seeds drawn, where they came as a list.
    """

    states: ItemStates
    run: BatchRun | None
    at_once: int
    requests: Sequence[ImageRequest] = ()


Begin = Callable[[Events], Awaitable[StartedBatch]]


class ImageBatch:
    """Pictures in the making; nothing happens before it is awaited, entered or read.

    - ``await batch`` checks the requests, records them in the folder's journal, and begins. The work goes
      on in a task of the studio until it is done or cancelled, or the studio is closed.
    - ``async with batch:`` begins; leaving the block cancels what still runs. What is saved stays.
    - ``async for outcome in batch`` begins where nobody has, and gives the outcomes as they complete: each
      once, to whoever reads. A slow reader slows nothing; for him the pictures are read from their files.

    Made by ``Studio.batch`` and ``Studio.resume``. All methods belong to the event loop on which it began.
    """

    def __init__(
        self,
        context: BatchContext,
        batch_id: BatchId,
        *,
        begin: Begin,
        again: Begin,
    ) -> None:
        self.id = batch_id
        self._context = context
        self._begin = begin
        self._again = again
        self._events = Events()
        self._beginning: asyncio.Future[StartedBatch] | None = None
        self._begun: StartedBatch | None = None
        self._reader: OutcomeReader | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()

    def __await__(self) -> Generator[object, None, Self]:
        """Check the requests, record them, begin, and return this batch.

        Raises:
            InvalidRequest: There is no request, or one of a list does not fit the model: its position is in
                the notes. Of an iterator, requests that do not fit become failures of their own.
            CannotSave: The folder cannot be written.
            OmniError: The server does not tell its model.
            UnknownBatch: To be resumed, and not known in this folder.
            BatchInUse: To be resumed, and another process works on it.
            JournalUnavailable: The folder's journal of batches cannot be read or written.
        """
        return self._start().__await__()

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()
        if error is None:
            self._raise_error()

    async def __aiter__(self) -> AsyncIterator[PictureOutcome]:
        """Outcomes as they complete; ``index`` is the request's position."""
        await self._start()
        while (outcome := await self._outcomes.next()) is not None:
            yield outcome
        self._raise_error()

    async def results(self) -> AsyncIterator[PictureOutcome]:
        """All outcomes in the order of the requests, also those of before a resumption.

        Waits for each; requests that were not made, because the batch was cancelled, are left out.
        """
        await self._start()
        position = 0
        while await self._outcomes.has(position):
            outcome = await self._outcomes.at(position)
            if outcome is not None:
                yield outcome
            position += 1

    @property
    def requests(self) -> Sequence[ImageRequest]:
        """The requests with their seeds, where they came as a list; empty before the batch begins."""
        return self._begun.requests if self._begun else ()

    @property
    def at_once(self) -> int:
        """How many pictures are under way at the same time; 0 before the batch begins."""
        return self._begun.at_once if self._begun else 0

    @property
    def progress(self) -> Progress:
        """The counts at this moment."""
        return self._begun.states.progress if self._begun else _NOTHING

    @property
    def eta(self) -> Eta:
        """How long it will still take, and what that rests on."""
        if self._begun is None:
            return Eta(seconds=None, basis="the batch has not begun")
        if self._begun.run is None:
            return Eta(seconds=0.0, basis="nothing is made any more")
        return self._begun.run.eta

    @property
    def over(self) -> bool:
        """Whether nothing is made any more; outcomes may still be unread."""
        return self._begun is not None and (self._begun.run is None or self._begun.run.over.is_set())

    @property
    def idle(self) -> bool:
        """Whether nothing is done for it: it has not begun, could not, or is over."""
        if self._begun is None:
            return self._beginning is None or self._beginning.done()
        return self.over

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled before its end."""
        return self._begun is not None and self._begun.states.cancelled

    @property
    def cause(self) -> str | None:
        """Why it waits, or was stopped."""
        run = self._begun and self._begun.run
        return run.log.cause if run else None

    @property
    def trouble(self) -> ImageError | OmniError | None:
        """The error for whose end it waits; None while it waits for nothing."""
        run = self._begun and self._begun.run
        return run.log.trouble if run else None

    @property
    def running_at_cancel(self) -> int:
        """How many were under way when it was cancelled: a GPU may still have finished those."""
        run = self._begun and self._begun.run
        return run.log.left_running if run else 0

    @property
    def unfinished_count(self) -> int:
        """How many of the recorded requests are neither saved nor failed."""
        if self._begun is None:
            return 0
        states = self._begun.states
        return states.recorded - states.done_count - states.failed_count

    @property
    def unread(self) -> int:
        """How many outcomes nobody has taken yet."""
        return self._begun.states.unread if self._begun else 0

    @property
    def seconds(self) -> float:
        """From its beginning, or its resumption, to its end or to now."""
        run = self._begun and self._begun.run
        return run.seconds if run else 0.0

    @property
    def images(self) -> Mapping[int, GeneratedImage]:
        """What is saved, by the request's position; a picture is read from its file when it is asked for."""
        return Images(self._outcomes) if self._begun else {}

    @property
    def errors(self) -> Mapping[int, Exception]:
        """What failed, by the request's position."""
        return Errors(self._outcomes) if self._begun else {}

    def state(self, index: int) -> State:
        """Where the request with this position is.

        Raises:
            IndexError: The batch has no such request, or has not begun.
        """
        if self._begun is None:
            raise IndexError(f"the batch has no request {index}")
        return self._begun.states.state(index)

    def events(self) -> EventStream:
        """What happens from now on, as an async iterator; at most 10,000 unread events are kept.

        Reading it begins the batch if nobody has, and ends at once if the batch is over.
        """
        stream = self._events.stream(begin=self._start)
        if self.over:
            stream.close()
        return stream

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call somebody at each event. What the call raises is logged, and counted in `listener_errors`."""
        self._events.listen(listener)

    @property
    def listener_errors(self) -> int:
        """How many calls of listeners have raised."""
        return self._events.errors

    async def cancel(self) -> Progress:
        """Send no more, close what is open, and say how it stands then; an ended batch stays as it is.

        What is done stays done. A picture that is running on the GPU may still be finished there: see
        ``left_running``.
        """
        await self._stop("cancelled")
        return self.progress

    async def close(self) -> None:
        """End the work here and now; the batch can be resumed."""
        await self._stop("closed")

    async def drain(self, seconds: float = 10.0) -> Progress:
        """Send no more, give what is under way some time to end, and leave the rest to be resumed."""
        if self._begun is not None and self._begun.run is not None:
            await self._begun.run.drain(seconds)
        return self.progress

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it is over, at most so long; whether it is. Begins it where nobody has."""
        run = (await self._start())._running  # noqa: SLF001 - its own
        if run is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await run.over.wait()
        return self.over

    async def retry_failed(self) -> int:
        """Let the failed requests be made once more, and return how many there are.

        A batch that is over goes on with them.
        """
        await self._start()
        if self._running is not None and not self.over:
            return await self._running.retry_failed()
        count = len(self.errors)
        if count:
            self._take(await self._again(self._events))
        return count - len(self.errors)  # a request that was lost with a damaged journal stays failed

    @property
    def _running(self) -> BatchRun | None:
        return self._begun.run if self._begun else None

    @property
    def _outcomes(self) -> OutcomeReader:
        if self._reader is None:
            raise RuntimeError("the batch has not begun")
        return self._reader

    async def _start(self) -> Self:
        self._check_here()
        if self._beginning is None or _has_failed(self._beginning):
            self._beginning = asyncio.ensure_future(self._begin(self._events))
            self._beginning.add_done_callback(self._on_begun)
        await asyncio.shield(self._beginning)
        return self

    def _on_begun(self, beginning: asyncio.Future[StartedBatch]) -> None:
        if not beginning.cancelled() and beginning.exception() is None:
            self._take(beginning.result())

    def _take(self, begun: StartedBatch) -> None:
        before = self._begun
        self._begun = replace(begun, requests=before.requests) if before else begun
        self._reader = OutcomeReader(self._context, self.id, begun.states, begun.run)
        if begun.run is None:  # it was cancelled before
            self._events.tell("ended")
            self._events.close()

    def _check_here(self) -> None:
        """Refuse a batch that came here by a fork, or from an event loop that is not this one."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._process != os.getpid() or self._loop is not loop:
            where = "process" if self._process != os.getpid() else "event loop"
            raise BatchMoved(f"Batch {self.id} was begun in another {where}.")

    async def _stop(self, why: str) -> None:
        if self._beginning is not None and not self._beginning.done():
            self._beginning.cancel()
            await asyncio.wait([self._beginning])
        run = self._running
        if run is not None:
            await run.stop("cancelled" if why == "cancelled" else "closed")

    def _raise_error(self) -> None:
        run = self._running
        if run is not None and run.error is not None:
            error, run.error = run.error, None
            raise error


def _has_failed(beginning: asyncio.Future[StartedBatch]) -> bool:
    return beginning.done() and (beginning.cancelled() or beginning.exception() is not None)
