"""Begin a batch and wait for its images, reporting progress at regular intervals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core.errors import ImageError

from vllm_image_mcp.jobs import progress
from vllm_image_mcp.jobs.progress import ProgressReporter
from vllm_image_mcp.jobs.wait_limits import answer_deadline

if TYPE_CHECKING:
    from types import TracebackType

    from mcp.server.mcpserver import Context
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.summary import FoundBatch

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.state import State

_POLL_SECONDS: Final = 1.0
"""Interval at which the batch of another process is read again."""

BEGIN_SECONDS: Final = 10.0
"""Minimum time a batch has to begin, however short the wait: until it has begun, there is no id to return."""

GOING_ON: Final = frozenset({"running", "paused"})
"""States in which a batch makes progress without being resumed."""


class NotBegun(ImageError):
    """A batch could not begin while its call waited; nothing of it remains."""

    usual_next_step = "Check with server_health, then call again; a longer max_wait allows more time."


class BatchStart:
    """Limits how long a batch may take to begin, and reports progress meanwhile.

    The server has to report its model before a batch can begin, which may take a while. Used as
    ``async with BatchStart(ctx, batch_id, total=images, until=end) as start``. It raises `NotBegun` if that
    takes longer than the call may, and longer than 10 s.

    Attributes:
        ticks: Progress messages sent so far.
    """

    def __init__(self, ctx: Context[State], batch_id: str, *, total: int, until: float) -> None:
        self._began = asyncio.get_running_loop().time()
        self._limit = asyncio.timeout_at(max(until, self._began + BEGIN_SECONDS))
        self._ctx = ctx
        self._total = total
        self._message = progress.starting_message(batch_id, total)
        self._reports: list[asyncio.Task[None]] = []
        self.ticks: int = 0

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._schedule()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            waited = progress.duration(asyncio.get_running_loop().time() - self._began)
            raise NotBegun(
                f"The server did not report its model within {waited}, or the output folder is slow. "
                "Nothing was sent."
            ) from None
        finally:
            if self._reports:
                await asyncio.gather(*self._reports, return_exceptions=True)

    def _schedule(self) -> None:
        """Schedule the next message; most starts need none, and a timer costs next to nothing."""
        self._timer = asyncio.get_running_loop().call_later(progress.TICK_SECONDS, self._report)

    def _report(self) -> None:
        value = progress.fraction(self.ticks)
        self.ticks += 1
        report = self._ctx.report_progress(value, self._total, self._message)
        self._reports.append(asyncio.create_task(report))
        self._schedule()


async def begin_and_wait(
    ctx: Context[State], batch: ImageBatch, *, total: int, max_wait: object, through_trouble: bool = True
) -> BatchMonitor:
    """Begin a batch and wait for it; if the host gives up on the call, cancel what was not sent yet.

    Args:
        ctx: The call.
        batch: A batch that has not begun.
        total: How many images it has.
        max_wait: As the caller gave it.
        through_trouble: Whether to keep waiting while the server or the folder is unavailable.
    """
    tracker = ctx.request_context.lifespan_context.tracker
    until = answer_deadline(ctx, max_wait)
    async with BatchStart(ctx, batch.id, total=total, until=until) as start:
        monitor = await tracker.begin(batch)
    try:
        await wait_for_batch(ctx, monitor, until, through_trouble=through_trouble, ticks=start.ticks)
    except asyncio.CancelledError:
        tracker.wind_down(monitor)
        raise
    if monitor.fault is not None:
        raise monitor.fault
    return monitor


async def wait_for_batch(
    ctx: Context[State], monitor: BatchMonitor, until: float, *, through_trouble: bool = True, ticks: int = 0
) -> None:
    """Wait until a batch of this process ends or the time is up, by the event loop's clock.

    Unless it waits ``through_trouble``, it returns if the server or the folder is unavailable. The ticks are
    the progress messages that the call has sent before.
    """
    loop = asyncio.get_running_loop()
    reporter = ProgressReporter(ctx, monitor, wait=until - loop.time(), ticks=ticks)
    await reporter.report_start()
    while not monitor.over and (left := until - loop.time()) > 0:
        if monitor.batch.trouble and not through_trouble:
            return
        await monitor.wait_for_change(min(left, progress.TICK_SECONDS))
        await reporter.report_change()
    if monitor.over:
        await reporter.report_change()  # report what ended while the last message was being sent


async def wait_for_other_process(ctx: Context[State], found: FoundBatch, until: float) -> None:
    """Wait until a batch that another process works on ends or the time is up."""
    loop = asyncio.get_running_loop()
    studio = ctx.request_context.lifespan_context.studio
    value = 0.0
    while found.state in GOING_ON:
        value = max(value + 0.001, found.done + found.failed)  # progress has to rise
        await ctx.report_progress(value, found.total, progress.other_process_message(found))
        left = until - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, _POLL_SECONDS))
        found = await studio.find_batch(found.id, limit=1)
