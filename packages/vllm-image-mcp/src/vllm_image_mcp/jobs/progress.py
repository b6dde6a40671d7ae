"""Progress: what a host shows while pictures are made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from vllm_image_mcp.error_messages import in_our_words

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from vllm_image_core.estimation.backlog import Eta

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.state import State

__all__ = ["Reports", "between", "duration"]

_METRICS_SECONDS: Final = 0.4
"""A server that is slower to tell its queue has none to tell of: a message must not be late for it."""

_MINUTE: Final = 60
_HOUR: Final = 3_600
_SECONDS_TOLD: Final = 90


class Reports:
    """The progress messages of one call.

    Args:
        ctx: The call.
        monitor: The batch that it waits for.
        wait: Seconds that it will wait at most.
        ticks: Messages that were sent before the batch began.
    """

    def __init__(self, ctx: Context[State], monitor: BatchMonitor, *, wait: float, ticks: int = 0) -> None:
        self._ctx = ctx
        self._monitor = monitor
        self._wait = wait
        self._asked = "progress_token" in (ctx.request_context.meta or {})
        self._heard = self._asked or not ctx.request_context.lifespan_context.wired
        self._told = monitor.ended_count
        self._ticks = ticks

    async def first(self) -> None:
        """Tell the batch's id, how it stands, and whether it will take longer than the call waits."""
        if not self._heard:
            return
        eta = self._monitor.batch.eta
        late = eta.seconds is not None and eta.seconds > self._wait
        more = f". This call answers within {duration(self._wait)}; get_batch waits on" if late else ""
        others = await self._others() if self._asked else 0
        await self._report(self._told + between(self._ticks), others, eta=eta, more=more)

    async def next(self) -> None:
        """Tell each picture that has ended since; where none has, that the work goes on."""
        if not self._heard:
            return
        ended = self._monitor.ended_count
        if ended <= self._told:
            if self._monitor.over or ended == self._monitor.batch.progress.total:
                return
            self._ticks += 1
            await self._report(self._told + between(self._ticks), await self._others())
            return
        self._ticks = 0
        while self._told < ended:
            self._told += 1
            await self._report(self._told)

    async def _report(self, value: float, others: int = 0, *, eta: Eta | None = None, more: str = "") -> None:
        progress = self._monitor.batch.progress
        total = progress.total
        parts = [
            f"{int(value)} of {'?' if total is None else total}",
            *([f"{progress.failed} failed"] if progress.failed else []),
            *self._outlook(value, others, eta),
        ]
        await self._ctx.report_progress(value, total, f"{self._monitor.batch.id}: {', '.join(parts)}{more}")

    def _outlook(self, value: float, others: int, eta: Eta | None) -> list[str]:
        """What is still to come; nothing after the last picture."""
        batch = self._monitor.batch
        if value == batch.progress.total or self._monitor.over:
            return []
        if cause := batch.cause:
            return [f"paused: {in_our_words(cause)}"]
        ahead = f"{others} {'request' if others == 1 else 'requests'} of others ahead"
        eta = eta or batch.eta
        left = [] if eta.seconds is None else [str(eta) if eta.seconds else "longer than predicted"]
        return [*left, *([ahead] if others else [])]

    async def _others(self) -> int:
        """Requests that the server has and that are not ours; 0 where it does not tell."""
        state = self._ctx.request_context.lifespan_context
        try:
            async with asyncio.timeout(_METRICS_SECONDS):
                return await state.studio.requests_of_others() or 0
        except TimeoutError:
            return 0


def between(ticks: int) -> float:
    """A part of a picture, 0 to 1, more with each message: what is told of progress has to rise."""
    return ticks / (ticks + 1)


def duration(seconds: float) -> str:
    """A time as a person would say it: "40 s", "3 min", "2.5 h"."""
    if seconds < _SECONDS_TOLD:
        return f"{max(1, round(seconds))} s"
    if seconds < _SECONDS_TOLD * _MINUTE:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.3g} h"
