"""Batch runner: record the requests, send them through the workers, and record their outcomes."""

import asyncio
import functools
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final, Literal

from vllm_omni_client.errors import OmniError
from vllm_omni_client.generation_budget import GenerationBudget

from vllm_image_core.batches.batch_row import Counts
from vllm_image_core.batches.context import BatchContext, Windowed
from vllm_image_core.batches.eta import BatchEta
from vllm_image_core.batches.events import Events
from vllm_image_core.batches.gates import ConsecutiveFailureLimit, GateClosed
from vllm_image_core.batches.ingest import CheckedJobs, Source, chunks
from vllm_image_core.batches.input_cleanup import remove_unneeded_inputs
from vllm_image_core.batches.item_states import ItemStates
from vllm_image_core.batches.lease import Lease
from vllm_image_core.batches.queue import BatchQueue
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_items import BatchItem, lost_request_error, stored_image
from vllm_image_core.batches.worker import BatchWorker
from vllm_image_core.batches.worker_pool import WorkerPool, run_items
from vllm_image_core.batches.writer import JournalWriter, WriterCallbacks
from vllm_image_core.errors import BatchInUse, CannotSave, DatabaseUnavailable, ImageError, InvalidRequest
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.generation.job import Job
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.input_store import store_inputs
from vllm_image_core.text import message_of, sentences

_logger = logging.getLogger(__name__)

StopReason = Literal["cancelled", "closed", "lost", "stopped"]
"""Why a batch ends early: cancelled, studio closed, lease lost to another process, stopped by failures."""

_AHEAD: Final = 100_000
"""Maximum requests of an iterator that are recorded ahead of those already sent."""


class BatchRun:
    """Run one batch, from its start or from where it was left, to its end.

    Args:
        context: What the batch works with.
        lease: The lease on the batch.
        states: The states of its requests.
        events: Its event streams and listeners.
        jobs: Those of its requests that were checked before.
        at_once: How many images to generate at once.
        fixed: Whether that number was requested; otherwise the backend's window is used, if it has one.

    Attributes:
        recorder: The batch's recorder.
        over: Set at the end.
        recorded: Set when all requests are in the journal.
        stop_reason: Why it ended early; None if it did not.
        error: What to raise to the reader of its outcomes at the end.
    """

    def __init__(
        self,
        context: BatchContext,
        lease: Lease,
        states: ItemStates,
        events: Events,
        jobs: CheckedJobs,
        *,
        at_once: int,
        fixed: bool,
    ) -> None:
        self.stop_reason: StopReason | None = None
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
            counts=self._counts,
            callbacks=WriterCallbacks(
                trouble=self._on_journal_trouble,
                lost=self._on_lease_lost,
                cancel=self._on_cancel_requested,
                written=states.mark_written,
            ),
            heartbeat_seconds=context.heartbeat_seconds,
        )
        self.recorder: BatchRecorder = BatchRecorder(
            self._writer, id=lease.id, number=lease.number, states=states, events=events
        )
        self._writer.start()
        self._queue = BatchQueue(self.recorder, context.library, resumed=lease.resumed)
        self._eta = BatchEta(context)
        self._eta.add(jobs.works)
        self._jobs = jobs
        self._worker = BatchWorker(context, self.recorder, self._eta.backlog, self._give_up)
        self._failure_limit = ConsecutiveFailureLimit()
        self._working: asyncio.Task[None] | None = None
        self._pool: WorkerPool[BatchItem, None] | None = None
        self._ending = False
        self._generated = False
        self._retrying = asyncio.Lock()
        self._progressed = asyncio.Event()

    def begin(self, source: Source | None, *, recorded_first: bool = False) -> None:
        """Start the work in its own task; `source` has requests that are not recorded yet.

        With `recorded_first`, all of them are recorded before the first is sent.
        """
        self._log_begin()
        self._working = asyncio.create_task(self._run(source, recorded_first=recorded_first))

    def _log_begin(self) -> None:
        states = self.recorder.states
        if self._resumed:
            _logger.info(
                "Batch %s resumed: %d of %d to do", self.recorder.id, states.waiting, states.recorded
            )
        elif states.recorded:
            _logger.info("Batch %s started: %d to do", self.recorder.id, states.recorded)
        else:
            _logger.info("Batch %s started; its requests are read as it runs", self.recorder.id)

    def _log_end(self) -> None:
        counts, how = self._counts(), self.stop_reason or self.recorder.states.end_state
        text = "Batch %s ended (%s): %d done, %d failed, %.0f s"
        _logger.info(text, self.recorder.id, how, counts.done, counts.failed, counts.seconds)

    async def stop(self, why: StopReason) -> None:
        """Stop now: cancel requests in progress, keep what is done, and wait until all is written."""
        self._request_stop(why)
        if asyncio.current_task() is not self._working:
            await self.over.wait()

    def _request_stop(self, why: StopReason) -> None:
        if not self._ending and self.stop_reason in {None, "stopped"} and self._working is not None:
            if self.stop_reason is None or why == "cancelled":
                self.stop_reason = why
            if why == "cancelled":
                self.recorder.left_running = self.recorder.states.running
            # Not immediately: a task that is cancelled before its first step would never end the batch.
            asyncio.get_running_loop().call_soon(self._cut_short)

    def _cut_short(self) -> None:
        if self._working is not None and not self._ending:
            self._working.cancel()

    async def abandon(self) -> None:
        """Release a batch that was never started, so that it can be resumed."""
        self.stop_reason = "closed"
        await self._end()

    async def drain(self, seconds: float) -> None:
        """Stop sending; let requests in progress finish within `seconds`, then cancel them."""
        self._queue.stop()
        self._worker.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        await self.stop("closed")

    async def retry_failed(self) -> int | None:
        """Queue the failed requests again, and return how many there are; None if the batch is ending.

        Raises:
            LimitReached: They would exceed the limits; nothing has changed.
        """
        async with self._retrying:
            if self._generated:
                return None
            failed = list(self.recorder.states.positions("failed"))
            await self.recorder.reset(failed, self._context.limits)
            self._queue.rewind()
        if self._pool is not None:
            self._pool.resize(self._workers())
        return len(failed)

    @property
    def seconds(self) -> float:
        """Seconds since it started, up to its end."""
        return (self._context.timer() if self._ended is None else self._ended) - self._began

    def _counts(self) -> Counts:
        """The current counts, for the journal."""
        recorder, states = self.recorder, self.recorder.states
        seconds = self._before + self.seconds
        return Counts(
            running=states.running,
            done=states.done_count,
            failed=states.failed_count,
            reused=states.reused,
            left_running=recorder.left_running,
            seconds=seconds,
            cause=recorder.cause,
        )

    async def add_waiting_to_eta(self) -> None:
        """Add the waiting requests of a resumed batch to the time left."""
        await self._eta.add_waiting(self.recorder)

    @property
    def eta(self) -> Eta:
        """Estimated time left, and what the estimate is based on."""
        if self.over.is_set():
            return Eta(seconds=0.0, basis="the batch is over")
        return self._eta.estimate(self.recorder.states.progress, at_once=self._window())

    async def _run(self, source: Source | None, *, recorded_first: bool) -> None:
        try:
            if source is None:
                self._queue.announce(last=True)
                self.recorded.set()
                await self._generate_all()
            elif recorded_first:
                await self._record(source, ahead=None)
                await self._generate_all()
            else:
                await self._record_and_generate(source)
        except asyncio.CancelledError:
            if self.stop_reason is None:  # the program itself is ending
                self.stop_reason = "closed"
        except Exception as error:  # noqa: BLE001 - a bug, or raised by the source of requests: the reader gets it
            self.error = error
            self.stop_reason = self.stop_reason or "stopped"
            self.recorder.cause = f"{type(error).__name__}: {message_of(error)}"
        finally:
            await self._end()

    async def _record_and_generate(self, source: Source) -> None:
        recording = asyncio.create_task(self._record(source, ahead=_AHEAD))
        try:
            await self._generate_all()
            await recording
        finally:
            recording.cancel()
            await asyncio.wait([recording])

    async def _record(self, source: Source, *, ahead: int | None) -> None:
        """Record requests as they come, at most `ahead` of those that were sent."""
        try:
            async with aclosing(chunks(source)) as some:
                async for requests in some:
                    self._jobs.works.clear()
                    first = self.recorder.states.recorded
                    await self.recorder.record(
                        [
                            await self._check(request, position)
                            for position, request in enumerate(requests, first)
                        ]
                    )
                    self._eta.add(self._jobs.works)
                    self._queue.announce()
                    while (
                        ahead is not None
                        and self.recorder.states.recorded - self._queue.last_position > ahead
                    ):
                        self._progressed.clear()
                        await self._progressed.wait()
            await self.recorder.complete()
        finally:
            self._queue.announce(last=True)
            self.recorded.set()

    async def _check(self, request: ImageRequest, position: int) -> tuple[ImageRequest, Exception | None]:
        """The request with its seed drawn, or unchanged with the error that refuses it."""
        try:
            job = await self._context.generator.check(request)
            checked = await self._keep_inputs(job.request)
        except InvalidRequest as error:
            return request, error
        self._jobs.add(position, job)
        return checked, None

    async def _keep_inputs(self, request: ImageRequest) -> ImageRequest:
        """Store the input images of an edit, waiting until the folder can be written."""
        while True:
            try:
                return await store_inputs(request, self._context.library.root)
            except CannotSave as error:
                if not await self._worker.wait_for_folder(error):
                    raise

    async def _generate_all(self) -> None:
        while not self._generated:
            await self._generate_queued()
            async with self._retrying:  # failed requests may be about to wait again
                self._generated = not self._queue.rewound

    async def _generate_queued(self) -> None:
        async with (
            aclosing(self._queue.items()) as items,
            run_items(self._work, items, at_once=self._workers()) as self._pool,
        ):
            async for _ in self._pool:
                self._pool.resize(self._workers())
                self._progressed.set()

    def _workers(self) -> int:
        """How many requests to work on at once, without workers for requests that do not exist."""
        states, window = self.recorder.states, self._window()
        return min(window, max(1, states.waiting + states.running)) if states.complete else window

    def _window(self) -> int:
        return self._at_once if self._windowed is None else max(1, self._windowed.window)

    async def _work(self, item: BatchItem) -> None:
        position, ended = item.position, False
        if item.lost:
            self._eta.backlog.mark_ended(position, generated=False)
            self.recorder.record_failed(position, item.request, lost_request_error())
            self._queue.release(position)
            return

        def save_outcome(image: GeneratedImage) -> None:
            nonlocal ended
            ended = True
            self._failure_limit.reset()
            self._eta.backlog.mark_ended(position, generated=not image.reused)
            outcome = stored_image(image, self._context.library.root)
            self.recorder.record_done(position, item.request, image, outcome)

        try:
            await self._worker.generate(item, functools.partial(self._job, item), save_outcome)
        except GateClosed:
            pass
        except (ImageError, OmniError) as error:
            if not ended:
                ended = True
                self._eta.backlog.mark_ended(position, generated=False)
                self.recorder.record_failed(position, item.request, error)
                if (cause := self._failure_limit.count_failure(error)) is not None:
                    self._stop_sending(cause)
        finally:
            if not ended:
                self.recorder.states.return_to_queue(position)
                self._eta.backlog.mark_returned(position)
            self._queue.release(position)

    def _stop_sending(self, cause: str) -> None:
        """Stop sending and let requests in progress finish; the rest can be resumed."""
        if self.stop_reason is None:
            self.stop_reason = "stopped"
            self.recorder.cause = cause
            self._worker.close()
            self._queue.stop()

    def _give_up(self, reason: str) -> None:
        self._stop_sending(f"Gave up after waiting {self._context.outage_seconds:.0f} s: {reason}")
        if self._working is not None and not (self._ending or self._worker.can_write_journal):
            self._working.cancel()  # work that waits for the journal would wait forever

    def _job(self, item: BatchItem, budget: GenerationBudget) -> Job:
        return replace(
            self._jobs.take(item.position) or Job(request=item.request),
            reuse=not (self._fresh or item.request.seed_drawn),
            batch=self.recorder.id,
            position=item.position,
            hold=self._worker.hold,
            budget=budget,
        )

    async def _end(self) -> None:
        """Record the final state, release the lease, and announce the end."""
        self._ending = True
        self._worker.close()
        self._eta.close()
        self._jobs = CheckedJobs()
        self._ended = self._context.timer()
        self.recorder.states.cancelled = self.stop_reason == "cancelled"
        self.recorder.states.complete = True
        try:
            await self._release()
        finally:
            if self._working is not None:
                self._log_end()
            self.over.set()
            self.recorder.changed.set()
            self.recorder.events.emit("ended")
            self.recorder.events.close()

    async def _release(self) -> None:
        if self.stop_reason == "lost":
            await self._writer.aclose()
            return
        number, state, counts = self.recorder.number, self._state(), self._counts()
        release = asyncio.ensure_future(
            self._writer.call(lambda queries: queries.release(number, state, counts), last=True)
        )
        await asyncio.sleep(0)  # so that the call is queued before the writer is closed
        await self._writer.aclose()
        await asyncio.wait([release])
        if release.exception() is not None:
            _logger.warning("Could not record the end of batch %s: %s", self.recorder.id, release.exception())
        else:
            await asyncio.to_thread(remove_unneeded_inputs, self._context.journal)

    def _on_journal_trouble(self, trouble: DatabaseUnavailable | None) -> None:
        """Record why the journal cannot be written; None if it can be again."""
        self._worker.journal_failed(trouble and sentences(trouble.message, trouble.next_step))

    def _on_lease_lost(self) -> None:
        """Stop, because another process has taken the batch over."""
        self.error = BatchInUse(
            f"Batch {self.recorder.id} was taken over by another process.",
            batch_id=self.recorder.id,
            host="",
            pid=0,
        )
        self._request_stop("lost")

    def _on_cancel_requested(self) -> None:
        """Cancel the batch, because another process asked for it."""
        self._request_stop("cancelled")

    def _state(self) -> str:
        if self.stop_reason in {"cancelled", "stopped"}:
            return self.stop_reason
        return self.recorder.states.end_state
