"""A batch at work: requests are recorded, fed to the maker, and what becomes of them is written down."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing, suppress
from typing import Final, Literal

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.context import BatchContext, Windowed
from vllm_image_core.batches.eta import BatchEta
from vllm_image_core.batches.events import Events
from vllm_image_core.batches.gates import ConsecutiveFailureLimit, StillWaiting
from vllm_image_core.batches.ingest import Source, chunks
from vllm_image_core.batches.input_cleanup import remove_unneeded_inputs
from vllm_image_core.batches.item_states import ItemStates
from vllm_image_core.batches.lease import Lease
from vllm_image_core.batches.queue import BatchQueue
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_items import BatchItem, lost_request_error, stored_image
from vllm_image_core.batches.worker import BatchWorker
from vllm_image_core.batches.worker_pool import running
from vllm_image_core.batches.writer import JournalWriter, WriterCallbacks
from vllm_image_core.errors import BatchInUse, CannotSave, DatabaseUnavailable, ImageError, InvalidRequest
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.generation.job import Job
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.input_store import store_inputs
from vllm_image_core.text import sentences

__all__ = ["BatchRun", "Halt"]

_logger = logging.getLogger(__name__)

Halt = Literal["cancelled", "closed", "lost", "stopped"]
"""Why a batch ends early: by its caller, with its studio, by another process, by what goes wrong."""

_AHEAD: Final = 100_000
"""An endless source is recorded so far ahead of what is sent, and no further."""


class BatchRun:
    """The work on one batch, from its beginning or from where it was left, to an end.

    Args:
        context: What it works with.
        lease: The batch.
        states: What is known of its requests.
        events: Who listens.
        at_once: How many pictures are under way.
        fixed: Whether that number was asked for; otherwise the backend's own window wins, if it has one.

    Attributes:
        log: What has happened.
        over: Set at the end.
        recorded: Set when all requests are in the journal.
        halt: Why it ended early; None where it did not.
        error: What the reader of its outcomes is told at its end.
    """

    def __init__(
        self,
        context: BatchContext,
        lease: Lease,
        states: ItemStates,
        events: Events,
        *,
        at_once: int,
        fixed: bool,
    ) -> None:
        self.halt: Halt | None = None
        self.error: Exception | None = None
        self._context = context
        self.over: asyncio.Event = asyncio.Event()
        self.recorded: asyncio.Event = asyncio.Event()
        self._at_once = at_once
        self._windowed = None if fixed or not isinstance(context.backend, Windowed) else context.backend
        self._fresh = lease.fresh
        self._resumed = lease.resumed
        self._began = context.timer()
        self._ended: float | None = None
        self._before = lease.seconds
        self._writer = JournalWriter(
            context.journal,
            number=lease.number,
            token=lease.token,
            loop=asyncio.get_running_loop(),
            counts=lambda: self.log.counts,
            news=WriterCallbacks(
                trouble=self._hear, lost=self._lose, cancel=self._obey, written=states.mark_written
            ),
            beat_seconds=context.beat_seconds,
        )
        self.log: BatchRecorder = BatchRecorder(
            self._writer,
            id=lease.id,
            number=lease.number,
            states=states,
            events=events,
            seconds=lambda: self._before + self.seconds,
        )
        self._writer.start()
        self._feed = BatchQueue(self.log, context.library, resumed=lease.resumed)
        self._left = BatchEta(context)
        self._attempts = BatchWorker(context, self.log, self._left, self._give_up)
        self._failure_limit = ConsecutiveFailureLimit()
        self._working: asyncio.Task[None] | None = None
        self._ending = False
        self._taken = asyncio.Event()

    def begin(self, source: Source | None, *, recorded_first: bool = False) -> None:
        """Start the work in a task of its own; `source` has requests that are not recorded yet.

        With `recorded_first` all of them are, before the first is sent.
        """
        self._log_begin()
        self._working = asyncio.create_task(self._run(source, recorded_first=recorded_first))

    def _log_begin(self) -> None:
        states = self.log.states
        if self._resumed:
            _logger.info("Batch %s resumed: %d of %d to do", self.log.id, states.waiting, states.recorded)
        elif states.recorded:
            _logger.info("Batch %s started: %d to do", self.log.id, states.recorded)
        else:
            _logger.info("Batch %s started; its requests are read as it runs", self.log.id)

    def _log_end(self) -> None:
        counts, how = self.log.counts, self.halt or self.log.states.verdict
        text = "Batch %s ended (%s): %d done, %d failed, %.0f s"
        _logger.info(text, self.log.id, how, counts.done, counts.failed, counts.seconds)

    async def stop(self, why: Halt) -> None:
        """End the work now: what is under way is cancelled, what is done stays; wait until all is written."""
        self._halt(why)
        if asyncio.current_task() is not self._working:
            await self.over.wait()

    def _halt(self, why: Halt) -> None:
        if not self._ending and self.halt in {None, "stopped"} and self._working is not None:
            self.halt = why if self.halt is None or why == "cancelled" else self.halt
            if why == "cancelled":
                self.log.left_running = self.log.states.running
            # Soon, and not now: a task that is cancelled before its first step would never end the batch.
            asyncio.get_running_loop().call_soon(self._cut_short)

    def _cut_short(self) -> None:
        if self._working is not None and not self._ending:
            self._working.cancel()

    async def abandon(self) -> None:
        """End what was never begun: the batch is given back, and can be resumed."""
        self.halt = "closed"
        await self._end()

    async def drain(self, seconds: float) -> None:
        """Send no more, and give what is under way so many seconds to end before it is cancelled."""
        self._feed.stop()
        self._attempts.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        await self.stop("closed")

    async def retry_failed(self) -> int:
        """Let those that have failed be made once more, and return how many there are."""
        failed = list(self.log.states.positions("failed"))
        await self.log.forget(failed)
        self._feed.rewind()
        return len(failed)

    @property
    def seconds(self) -> float:
        """From its beginning to its end, or to now."""
        return (self._context.timer() if self._ended is None else self._ended) - self._began

    async def expect(self, requests: Iterable[ImageRequest]) -> None:
        """Requests that will be made: how long they take is part of the time that is left."""
        await self._left.expect(requests)

    async def expect_left(self) -> None:
        """The same of what was left of a batch that goes on."""
        await self._left.expect_left(self.log)

    @property
    def eta(self) -> Eta:
        """How long it will still take, and what that rests on."""
        if self.over.is_set():
            return Eta(seconds=0.0, basis="nothing is made any more")
        return self._left.estimate(self.log.states.progress, at_once=self._window())

    async def _run(self, source: Source | None, *, recorded_first: bool) -> None:
        try:
            if source is None:
                self._feed.more(last=True)
                self.recorded.set()
                await self._make_all()
            elif recorded_first:
                await self._record(source, ahead=None)
                await self._make_all()
            else:
                await self._record_and_make(source)
        except asyncio.CancelledError:
            if self.halt is None:  # the whole program ends
                self.halt = "closed"
        except Exception as error:  # noqa: BLE001 - a bug, or what the source of requests raises: the reader is told
            self.error = error
            self.halt = self.halt or "stopped"
            self.log.cause = f"{type(error).__name__}: {error}"
        finally:
            await self._end()

    async def _record_and_make(self, source: Source) -> None:
        recording = asyncio.create_task(self._record(source, ahead=_AHEAD))
        try:
            await self._make_all()
            await recording
        finally:
            recording.cancel()
            await asyncio.wait([recording])

    async def _record(self, source: Source, *, ahead: int | None) -> None:
        """Write requests down ahead of what is sent, as they come."""
        try:
            async with aclosing(chunks(source)) as some:
                async for requests in some:
                    checked = [await self._check(request) for request in requests]
                    await self.log.record(checked)
                    await self.expect(request for request, refusal in checked if refusal is None)
                    self._feed.more()
                    while ahead is not None and self.log.states.recorded - self._feed.taken > ahead:
                        self._taken.clear()
                        await self._taken.wait()
            await self.log.complete()
        finally:
            self._feed.more(last=True)
            self.recorded.set()

    async def _check(self, request: ImageRequest) -> tuple[ImageRequest, Exception | None]:
        """The request with its seed drawn, or as it came with the reason why it is refused."""
        try:
            return await self._keep_inputs((await self._context.generator.check(request)).request), None
        except InvalidRequest as error:
            return request, error

    async def _keep_inputs(self, request: ImageRequest) -> ImageRequest:
        """The request, the pictures of an edit being kept; a folder that does not take them is waited for."""
        while True:
            try:
                return await store_inputs(request, self._context.library.root)
            except CannotSave as error:
                if not await self._attempts.folder_again(error):
                    raise

    async def _make_all(self) -> None:
        await self._make_some()
        while self._feed.rewound:  # the last was handed out already
            await self._make_some()

    async def _make_some(self) -> None:
        async with (
            aclosing(self._feed.items()) as items,
            running(self._work, items, at_once=self._window(), expected=()) as pool,
        ):
            async for _ in pool:
                pool.resize(self._window())
                self._taken.set()

    def _window(self) -> int:
        return self._at_once if self._windowed is None else max(1, self._windowed.window)

    async def _work(self, item: BatchItem) -> None:
        position, ended = item.position, False
        if item.lost:
            self._left.mark_ended(position, made=False)
            self.log.record_failed(position, item.request, lost_request_error())
            self._feed.back(position)
            return

        def save_outcome(image: GeneratedImage) -> None:
            nonlocal ended
            ended = True
            self._failure_limit.reset()
            self._left.mark_ended(position, made=not image.reused)
            told = stored_image(image, self._context.library.root)
            self.log.record_done(position, item.request, image, told)

        try:
            await self._attempts.generate(item, self._job(item), save_outcome)
        except StillWaiting:
            pass
        except (ImageError, OmniError) as error:
            if not ended:
                ended = True
                self._left.mark_ended(position, made=False)
                self.log.record_failed(position, item.request, error)
                if (cause := self._failure_limit.count_failure(error)) is not None:
                    self._stop_sending(cause)
        finally:
            if not ended:
                self.log.states.return_to_queue(position)
                self._left.waits_again(position)
            self._feed.back(position)

    def _stop_sending(self, cause: str) -> None:
        """Send no more; what is under way ends, and the rest can be resumed."""
        if self.halt is None:
            self.halt = "stopped"
            self.log.cause = cause
            self._attempts.close()
            self._feed.stop()

    def _give_up(self, reason: str) -> None:
        self._stop_sending(f"Waited for {self._context.outage_seconds:.0f} s in vain: {reason}")
        if self._working is not None and not (self._ending or self._attempts.can_be_written):
            self._working.cancel()  # what waits for the journal would wait for ever

    def _job(self, item: BatchItem) -> Job:
        request = item.request
        return Job(
            request=request,
            reuse=not (self._fresh or request.seed_drawn),
            batch=self.log.id,
            position=item.position,
            hold=self._attempts.hold,
        )

    async def _end(self) -> None:
        """Write down how it ended, give the lease back, and tell."""
        self._ending = True
        self._attempts.close()
        self._left.close()
        self._ended = self._context.timer()
        self.log.states.cancelled = self.halt == "cancelled"
        self.log.states.complete = True
        try:
            await self._give_back()
        finally:
            if self._working is not None:
                self._log_end()
            self.over.set()
            self.log.changed.set()
            self.log.events.tell("ended")
            self.log.events.close()

    async def _give_back(self) -> None:
        if self.halt == "lost":
            await self._writer.aclose()
            return
        number, state, counts = self.log.number, self._state(), self.log.counts
        release = asyncio.ensure_future(
            self._writer.call(lambda queries: queries.release(number, state, counts), last=True)
        )
        await asyncio.sleep(0)  # the call is in the queue before that is closed
        await self._writer.aclose()
        await asyncio.wait([release])
        if release.exception() is not None:
            _logger.warning("The end of batch %s was not written down: %s", self.log.id, release.exception())
        else:
            await asyncio.to_thread(remove_unneeded_inputs, self._context.journal)

    def _hear(self, trouble: DatabaseUnavailable | None) -> None:
        """The journal cannot be written, or can be again."""
        self._attempts.journal_failed(trouble and sentences(trouble.message, trouble.next_step))

    def _lose(self) -> None:
        """Another process has taken the batch over: nothing more is written or sent here."""
        self.error = BatchInUse(
            f"Batch {self.log.id} was taken over by another process.", batch_id=self.log.id, host="", pid=0
        )
        self._halt("lost")

    def _obey(self) -> None:
        """Another process asks for it to be cancelled."""
        self._halt("cancelled")

    def _state(self) -> str:
        if self.halt in {"cancelled", "stopped"}:
            return self.halt
        return self.log.states.verdict
