"""Create, resume and cancel a studio's batches, including those of other processes."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from vllm_image_core.batch_file.request_rows import RequestRows
from vllm_image_core.batches.batch_row import BatchId, BatchRow, batch_id
from vllm_image_core.batches.concurrency import Concurrency, ConcurrencyChooser
from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.events import Events
from vllm_image_core.batches.forecast import forecast
from vllm_image_core.batches.handle import ImageBatch, StartedBatch
from vllm_image_core.batches.ingest import CheckedJobs, SeededRequests, Source, check_requests, check_source
from vllm_image_core.batches.item_states import ItemStates
from vllm_image_core.batches.lease import Lease, record_new_batch, take_over
from vllm_image_core.batches.limits import Limits
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.batches.ranking import Rank
from vllm_image_core.batches.runner import BatchRun
from vllm_image_core.errors import InvalidRequest, UnknownBatch
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.input_store import store_inputs
from vllm_image_core.storage.owner import is_dead

_KEPT: Final = 100
"""Batches that have not begun, and of which nobody may have kept a reference."""

_PICTURES_KEPT: Final = 8
"""Minimum number of images kept in memory for a reader who is a little behind."""


class Batches:
    """All batches of one studio.

    Args:
        context: What they work with.
        concurrency: Chooses how many images each generates at once.
    """

    def __init__(self, context: BatchContext, *, concurrency: ConcurrencyChooser) -> None:
        self._context = context
        self._concurrency = concurrency
        self._batches: WeakValueDictionary[str, ImageBatch] = WeakValueDictionary()
        self._working: dict[str, ImageBatch] = {}  # those that are not over, whoever forgets them
        self._closed = False

    def new(
        self,
        requests: Source | RequestRows,
        *,
        max_concurrent: int | None,
        fresh: bool,
        recorded_first: bool,
        rank: Rank | None = None,
    ) -> ImageBatch:
        """Create a batch; it starts when it is awaited, entered or read."""
        name = batch_id(secrets.randbits(128))
        return self._register(
            ImageBatch(
                self._context,
                name,
                begin=partial(
                    self._begin_new,
                    name,
                    requests,
                    requested=max_concurrent,
                    fresh=fresh,
                    first=recorded_first,
                ),
                again=partial(self._begin_resumed, name, max_concurrent, retried=True),
                forecast=partial(forecast, self._context, requests),
                rank=rank,
            )
        )

    def resume(self, batch_id: str, *, max_concurrent: int | None) -> ImageBatch:
        """Resume a batch of any process; it continues when it is awaited, entered or read."""
        name = BatchId(str(batch_id))
        existing = self._batches.get(name)
        if existing is not None and not existing.idle:
            return existing
        return self._register(
            ImageBatch(
                self._context,
                name,
                begin=partial(self._begin_resumed, name, max_concurrent, retried=False),
                again=partial(self._begin_resumed, name, max_concurrent, retried=True),
            )
        )

    async def cancel(self, batch_id: str) -> ImageBatch | None:
        """Cancel a batch; if another process works on it, ask that process and wait a while for it.

        Returns:
            The batch if it belongs to this studio, otherwise None.
        """
        existing = self._batches.get(str(batch_id))
        if existing is not None and not existing.idle:
            await existing.cancel()
        else:
            await self._cancel_elsewhere(str(batch_id))
        return existing

    def set_limits(self, limits: Limits) -> None:
        """Check batches that are begun or resumed from now on against these limits."""
        self._context = replace(self._context, limits=limits)

    async def aclose(self) -> None:
        """Stop work on all batches; another studio can resume them."""
        self._closed = True
        for batch in tuple(self._batches.values()):
            await batch.close()

    async def _cancel_elsewhere(self, name: str) -> None:
        journal, context = self._context.journal, self._context
        batch_row = await asyncio.to_thread(journal.batch_row, name)
        if not batch_row.open:
            return
        number = batch_row.number
        await asyncio.to_thread(journal.write, lambda queries: queries.ask_to_cancel(number))
        until = time.monotonic() + context.stale_seconds
        while batch_row.open and batch_row.holder is not None and time.monotonic() < until:
            if is_dead(batch_row.holder.owner):
                break
            await asyncio.sleep(context.heartbeat_seconds / 8)
            batch_row = await asyncio.to_thread(journal.batch_row, name)
        if batch_row.open:
            await self._cancel_left(name)

    async def _cancel_left(self, name: str) -> None:
        """Cancel a batch whose owner is gone."""
        context = self._context
        lease = await take_over(
            context.journal,
            name,
            heartbeat_seconds=context.heartbeat_seconds,
            stale_seconds=context.stale_seconds,
        )

        def end(queries: JournalQueries) -> None:
            states = ItemStates(window=1)
            batch_row = _reopen(states, lease.id, queries, retried=False)
            counts = replace(
                batch_row.counts, done=states.done_count, failed=states.failed_count, running=0, cause=None
            )
            queries.release(lease.number, "cancelled", counts)

        await asyncio.to_thread(context.journal.write, end)

    async def _begin_new(
        self,
        name: BatchId,
        requests: Source | RequestRows,
        events: Events,
        *,
        requested: int | None,
        fresh: bool,
        first: bool,
    ) -> StartedBatch:
        self._check_open()
        rows = requests if isinstance(requests, RequestRows) else None
        if isinstance(requests, RequestRows):
            requests, first = await requests.begin(self._context.generator.check), True
        check_source(requests)
        concurrency = await self._concurrency.for_new(requested)
        context = self._context
        drawn: SeededRequests | None = None
        jobs = CheckedJobs()
        if isinstance(requests, Sequence):
            drawn = await self._draw_seeds(requests, jobs)
        else:
            await context.loaded.cached()
        await asyncio.to_thread(context.library.check_writable, pixels=jobs.pixels)
        if context.limits and drawn is None:
            raise InvalidRequest(
                "With limits, the number of images has to be known in advance.",
                parameter="requests",
                value=None,
                allowed="a list of requests",
            )
        lease = await record_new_batch(
            context.journal,
            name,
            drawn,
            fresh=fresh,
            concurrency=concurrency,
            pixels=jobs.pixels,
            limits=context.limits,
        )
        states = _states(concurrency)
        run = self._run(lease, states, events, concurrency, jobs)
        if drawn is not None:
            count = len(drawn)
            states.record(count)
            states.complete = True
            for position in range(count):
                events.emit("queued", position)
        run.begin(requests if drawn is None else None, recorded_first=first)
        if first:
            await run.recorded.wait()
        return StartedBatch(
            states=states,
            run=run,
            concurrency=concurrency.number,
            requests=drawn or (),
            refused=rows.refused if rows else (),
        )

    async def _draw_seeds(self, requests: Sequence[ImageRequest], jobs: CheckedJobs) -> SeededRequests:
        """Check all requests against the loaded model, and draw their seeds."""
        drawn = SeededRequests(tuple(requests))
        async for position, job in check_requests(requests, self._context.generator):
            drawn.add(await store_inputs(job.request, self._context.library.root))
            jobs.add(position, job)
        return drawn

    async def _begin_resumed(
        self, name: BatchId, requested: int | None, events: Events, *, retried: bool
    ) -> StartedBatch:
        self._check_open()
        context = self._context
        journal = context.journal
        await asyncio.to_thread(journal.check, name)
        batch_row = await asyncio.to_thread(journal.batch_row, name)
        if batch_row.state == "cancelled":
            return await self._stay_cancelled(batch_row)
        concurrency = await self._concurrency.for_resumed(requested, batch_row)
        states = _states(concurrency)
        lease = await take_over(
            journal,
            name,
            heartbeat_seconds=context.heartbeat_seconds,
            stale_seconds=context.stale_seconds,
            limits=context.limits,
            retried=retried,
        )
        await asyncio.to_thread(
            journal.write, partial(_reopen, states, name, retried=retried, concurrency=concurrency)
        )
        run = self._run(lease, states, events, concurrency, CheckedJobs())
        async with _release_on_error(run):
            await asyncio.to_thread(context.library.sweep)
            await run.add_waiting_to_eta()
        run.begin(None)
        return StartedBatch(states=states, run=run, concurrency=concurrency.number)

    async def _stay_cancelled(self, batch_row: BatchRow) -> StartedBatch:
        states = ItemStates(window=_PICTURES_KEPT)
        await asyncio.to_thread(self._context.journal.read, partial(_load_batch, states, batch_row.id))
        states.cancelled = True
        return StartedBatch(states=states, run=None, concurrency=batch_row.at_once)

    def _run(
        self, lease: Lease, states: ItemStates, events: Events, concurrency: Concurrency, jobs: CheckedJobs
    ) -> BatchRun:
        return BatchRun(
            self._context, lease, states, events, jobs, at_once=concurrency.number, fixed=concurrency.fixed
        )

    def _check_open(self) -> None:
        """Refuse to start on closed connections, because every request would be recorded as failed."""
        if self._closed:
            raise InvalidRequest(
                "This studio is closed.",
                parameter="studio",
                value=None,
                allowed="an open studio",
                next_step="Create another Studio for the same folder.",
            )

    def _register(self, batch: ImageBatch) -> ImageBatch:
        working = {name: each for name, each in self._working.items() if not each.over}
        idle = [name for name, each in working.items() if each.idle]
        for name in idle[: max(0, len(idle) - _KEPT)]:
            del working[name]
        self._working = {**working, batch.id: batch}
        self._batches[batch.id] = batch
        return batch


@asynccontextmanager
async def _release_on_error(run: BatchRun) -> AsyncGenerator[None]:
    """Release a batch that fails to start, so that it can be resumed."""
    async with AsyncExitStack() as on_error:  # even if cancelled: the lease must not outlive the attempt
        on_error.push_async_callback(run.abandon)
        yield
        on_error.pop_all()


def _states(concurrency: Concurrency) -> ItemStates:
    return ItemStates(window=max(_PICTURES_KEPT, 2 * concurrency.number))


def _load(states: ItemStates, batch_row: BatchRow, queries: JournalQueries) -> None:
    states.begin_again()  # this may run a second time, with a repaired journal
    states.record(batch_row.recorded)
    states.load(queries.outcomes(batch_row.number))
    states.reused = batch_row.counts.reused
    states.complete = True


def _load_batch(states: ItemStates, name: BatchId, queries: JournalQueries) -> None:
    _load(states, _existing_row(name, queries), queries)


def _existing_row(name: BatchId, queries: JournalQueries) -> BatchRow:
    batch_row = queries.batch_row(name)
    if batch_row is None:
        raise UnknownBatch(f"Batch {name} is no longer in the journal.")
    return batch_row


def _reopen(
    states: ItemStates,
    name: BatchId,
    queries: JournalQueries,
    *,
    retried: bool,
    concurrency: Concurrency | None = None,
) -> BatchRow:
    batch_row = _existing_row(name, queries)
    if retried:
        queries.reset_failed(batch_row.number)
    queries.reopen(batch_row.number)
    if concurrency is not None:
        queries.set_concurrency(batch_row.number, concurrency.number, concurrency.chosen)
    _load(states, batch_row, queries)
    return batch_row
