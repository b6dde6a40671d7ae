"""Report progress to the host: how often, and the text of each message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from vllm_image_mcp.error_messages import with_program_names

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from vllm_image_core.batches.item_states import Progress
    from vllm_image_core.batches.summary import FoundBatch
    from vllm_image_core.estimation.backlog import Eta

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.state import State

TICK_SECONDS: Final = 2.5
"""Interval between progress messages while no image ends; the docs promise one every 3 s."""

_METRICS_SECONDS: Final = 0.4
"""Longest wait for the server's queue: a progress message must not be late for it."""

_MINUTE: Final = 60
_HOUR: Final = 3_600
_LARGEST_COUNT: Final = 90
"""A time is given in seconds, or minutes, up to this many."""


class ProgressReporter:
    """Sends the progress messages of one call, which waits for a batch for some seconds at most.

    The ticks are the messages that were sent before the batch began.
    """

    def __init__(self, ctx: Context[State], monitor: BatchMonitor, *, wait: float, ticks: int = 0) -> None:
        self._ctx = ctx
        self._monitor = monitor
        self._wait = wait
        self._has_token = "progress_token" in (ctx.request_context.meta or {})
        self._is_wanted = self._has_token or not ctx.request_context.lifespan_context.is_remote
        self._reported = monitor.ended_count
        self._ticks = ticks

    async def report_start(self) -> None:
        """Report the batch's id, its state, and whether it will take longer than the call waits."""
        if not self._is_wanted:
            return
        progress, eta = self._monitor.batch.progress, self._monitor.batch.eta
        late = eta.seconds is not None and eta.seconds > self._wait
        more = (
            f". This call returns within {duration(self._wait)}; get_batch waits for the rest" if late else ""
        )
        others = await self._requests_of_others() if self._has_token else 0
        value = self._reported + fraction(self._ticks)
        await self._report(value, progress, self._outlook(value, progress, eta, others), more=more)

    async def report_change(self) -> None:
        """Report each image that ended since the last message; if none did, that work continues."""
        if not self._is_wanted:
            return
        progress = self._monitor.batch.progress
        ended = progress.done + progress.failed
        if ended <= self._reported:
            if self._monitor.over or ended == progress.total:
                return
            self._ticks += 1
            value, others = self._reported + fraction(self._ticks), await self._requests_of_others()
            await self._report(value, progress, self._outlook(value, progress, None, others))
            return
        self._ticks = 0
        while self._reported < ended:
            self._reported += 1
            await self._report(self._reported, progress, self._outlook(self._reported, progress))

    async def _report(self, value: float, progress: Progress, outlook: list[str], *, more: str = "") -> None:
        total = progress.total
        parts = [
            f"{int(value)} of {'?' if total is None else total}",
            *([f"{progress.failed} failed"] if progress.failed else []),
            *outlook,
        ]
        await self._ctx.report_progress(value, total, f"{self._monitor.batch.id}: {', '.join(parts)}{more}")

    def _outlook(
        self, value: float, progress: Progress, eta: Eta | None = None, others: int = 0
    ) -> list[str]:
        """What is still to come; nothing after the last image."""
        batch = self._monitor.batch
        if value == progress.total or self._monitor.over:
            return []
        if cause := batch.cause:
            return [f"paused: {with_program_names(cause)}"]
        ahead = f"{others} {'request' if others == 1 else 'requests'} from others ahead"
        eta = eta or batch.eta
        left = [] if eta.seconds is None else [str(eta) if eta.seconds else "longer than predicted"]
        return [*left, *([ahead] if others else [])]

    async def _requests_of_others(self) -> int:
        """Requests at the server that are not ours; 0 if it does not say."""
        state = self._ctx.request_context.lifespan_context
        try:
            async with asyncio.timeout(_METRICS_SECONDS):
                return await state.studio.requests_of_others() or 0
        except TimeoutError:
            return 0


def starting_message(batch_id: str, total: int) -> str:
    """The message while a batch waits to begin."""
    return f"{batch_id}: 0 of {total}, waiting for the server to report its model"


def other_process_message(found: FoundBatch) -> str:
    """The message while another process works on a batch."""
    return f"{found.id}: {found.done + found.failed} of {found.total or '?'}, in another process"


def fraction(ticks: int) -> float:
    """A fraction of an image, from 0 to below 1, that grows with each message: progress has to rise."""
    return ticks / (ticks + 1)


def duration(seconds: float) -> str:
    """A time as a person would say it: "40 s", "3 min", "2.5 h"."""
    if seconds < _LARGEST_COUNT:
        return f"{max(1, round(seconds))} s"
    if seconds < _LARGEST_COUNT * _MINUTE:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.3g} h"
