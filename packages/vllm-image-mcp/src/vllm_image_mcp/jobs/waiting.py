"""A wait: for a batch to begin, and for its pictures, with a progress message every few seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core.errors import ImageError

from vllm_image_mcp.jobs.progress import Reports, between, duration

if TYPE_CHECKING:
    from types import TracebackType

    from mcp.server.mcpserver import Context
    from vllm_image_core.batches.summary import FoundBatch

    from vllm_image_mcp.jobs.batch_monitor import BatchMonitor
    from vllm_image_mcp.state import State

__all__ = ["Beginning", "NotBegun", "wait_for_batch", "wait_for_other_process"]

TICK_SECONDS: Final = 2.5
"""Between two messages; hosts are promised one every 3 s."""

_LOOK_SECONDS: Final = 1.0
"""Between two looks at the batch of another process."""

BEGIN_SECONDS: Final = 10.0
"""So long a batch may take to begin, however short the wait is: before, there is nothing to ask for."""

GOING_ON: Final = frozenset({"running", "paused"})


class NotBegun(ImageError):
    """A batch could not begin while its call waited; nothing of it is left."""

    usual_next_step = "Check with server_health, then call again; a longer max_wait has more patience."


class Beginning:
    """While a batch begins: the host is told of a server that is slow to tell its model, which has its limit.

    Used as ``async with Beginning(ctx, batch_id, total=pictures, until=end) as beginning``.

    Args:
        ctx: The call.
        batch_id: The batch.
        total: Its pictures.
        until: When the call has to answer, by the event loop's clock.

    Raises:
        NotBegun: It takes longer than that, and longer than 10 s.

    Attributes:
        ticks: Messages that were sent so far.
    """

    def __init__(self, ctx: Context[State], batch_id: str, *, total: int, until: float) -> None:
        self._began = asyncio.get_running_loop().time()
        self._limit = asyncio.timeout_at(max(until, self._began + BEGIN_SECONDS))
        self._ctx = ctx
        self._total = total
        self._told = f"{batch_id}: 0 of {total}, waiting for the server to tell its model"
        self._telling: list[asyncio.Task[None]] = []
        self.ticks: int = 0

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            waited = duration(asyncio.get_running_loop().time() - self._began)
            raise NotBegun(
                f"The server did not tell its model within {waited}, or the output folder is slow. "
                "Nothing was sent."
            ) from None
        finally:
            if self._telling:
                await asyncio.gather(*self._telling, return_exceptions=True)

    def _wait(self) -> None:
        """Mostly no message is needed, and a timer alone costs next to nothing."""
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tell)

    def _tell(self) -> None:
        value = between(self.ticks)
        self.ticks += 1
        report = self._ctx.report_progress(value, self._total, self._told)
        self._telling.append(asyncio.create_task(report))
        self._wait()


async def wait_for_batch(
    ctx: Context[State], monitor: BatchMonitor, until: float, *, through_trouble: bool = True, ticks: int = 0
) -> None:
    """Wait until a batch of this process is over, or the time is.

    Args:
        ctx: The call.
        monitor: The batch.
        until: When the call has to answer, by the event loop's clock.
        through_trouble: Whether to wait on while the server or the folder is away.
        ticks: Progress messages that the call has sent before.
    """
    loop = asyncio.get_running_loop()
    reports = Reports(ctx, monitor, wait=until - loop.time(), ticks=ticks)
    await reports.first()
    while not monitor.over and (left := until - loop.time()) > 0:
        if monitor.batch.trouble and not through_trouble:
            return
        await monitor.news(min(left, TICK_SECONDS))
        await reports.next()
    if monitor.over:
        await reports.next()  # what ended while the last message was on its way


async def wait_for_other_process(ctx: Context[State], found: FoundBatch, until: float) -> None:
    """The same for a batch that another process works on."""
    loop = asyncio.get_running_loop()
    studio = ctx.request_context.lifespan_context.studio
    value = 0.0
    while found.state in GOING_ON:
        value = max(value + 0.001, found.done + found.failed)  # progress has to rise
        told = f"{found.id}: {found.done + found.failed} of {found.total or '?'}, in another process"
        await ctx.report_progress(value, found.total, told)
        left = until - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, _LOOK_SECONDS))
        found = await studio.find_batch(found.id, limit=1)
