"""The floor: the batches that this server works on, each followed to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import ImageError
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.jobs.batch_monitor import BatchMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.studio import Studio

__all__ = ["BatchTracker", "ServerEnding"]

_logger = logging.getLogger(__name__)

_KEPT: Final = 100
"""How many batches that are over are remembered with what their pictures told."""


_FOLLOW_SECONDS: Final = 1.0
"""How long the outcomes of a batch that has been drained may take to be known."""


class ServerEnding(ImageError):
    """The server ends, and begins nothing more."""

    usual_next_step = (
        "Call again when it has been started again; get_batch with resume=true continues a batch."
    )


class BatchTracker:
    """The batches of one server process.

    Args:
        studio: Who makes them.
        notes: The server's own, told with every picture.
        outage_timeout: Seconds that pictures under way may take when nobody waits for them any more.
        listener: Called with a batch's id and each of its events.

    Attributes:
        ending: Whether the server ends: no batch begins any more, and none is cancelled because its call was.
    """

    def __init__(
        self,
        studio: Studio,
        *,
        notes: Sequence[str],
        outage_timeout: float,
        listener: Callable[[str, Event], None] | None = None,
    ) -> None:
        self.ending: bool = False
        self._listener = listener
        self._studio = studio
        self._notes = tuple(notes)
        self._outage_gate = outage_timeout
        self._monitors: dict[str, BatchMonitor] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: dict[str, asyncio.Task[None]] = {}

    def monitor_of(self, batch_id: str) -> BatchMonitor | None:
        """The watch on a batch that began or went on here; None for any other."""
        return self._monitors.get(batch_id)

    async def begin(self, batch: ImageBatch) -> BatchMonitor:
        """Begin a batch, or go on with one, and follow it; cancelled meanwhile, it does not begin.

        Raises:
            ImageError: It cannot begin: a request does not fit, the folder cannot be written, and so on.
            OmniError: The server does not tell its model.
        """
        if self.ending:
            raise ServerEnding("This MCP server is shutting down, so nothing was sent.")
        known = self._monitors.get(batch.id)
        if known is not None and not known.over and known.batch is batch:
            return known
        try:
            await batch
        except asyncio.CancelledError:
            self._do(_cancel(batch))
            raise
        monitor = BatchMonitor(batch, folder=self._studio.output_dir, notes=self._notes)
        if self._listener is not None:
            batch.listen(functools.partial(self._listener, batch.id))
        self._remember(monitor)
        self._do(monitor.follow())
        return monitor

    def wind_down(self, monitor: BatchMonitor) -> None:
        """Send no more, and let what is under way end: it is paid for."""
        task = self._do(self._wound_down(monitor.batch))
        self._given_up[monitor.batch.id] = task
        task.add_done_callback(lambda _: self._given_up.pop(monitor.batch.id, None))

    def is_given_up(self, batch_id: str) -> bool:
        """Whether no more is sent of a batch, and what is under way has not ended yet."""
        return batch_id in self._given_up

    async def wait_until_settled(self, monitor: BatchMonitor) -> None:
        """Wait until the journal says how a batch ended that was given up, if its last picture has ended."""
        task = self._given_up.get(monitor.batch.id)
        if monitor.over and task is not None:
            await asyncio.wait([task])

    async def resume_all(self) -> None:
        """Go on with every batch that was cut off; what cannot go on is told in the log."""
        for found in await self._studio.batches():
            if found.state == "interrupted":
                try:
                    await self.begin(self._studio.resume(found.id))
                except (ImageError, OmniError) as error:
                    _logger.warning("Batch %s cannot go on: %s", found.id, error)

    @property
    def is_working(self) -> bool:
        """Whether a batch is in progress."""
        return any(not each.over for each in self._monitors.values())

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, and give what is in progress some time to end; the batches can be resumed."""
        self.ending = True
        monitors = [each for each in self._monitors.values() if not each.over]
        drained = [_log_failure(each.batch.drain(seconds)) for each in monitors]
        await asyncio.gather(*drained)
        async with asyncio.timeout(_FOLLOW_SECONDS):
            while any(not each.over for each in monitors):
                await asyncio.gather(*(each.news(_FOLLOW_SECONDS) for each in monitors))

    async def aclose(self) -> None:
        """Leave the batches as they are; the studio makes them resumable when it closes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wound_down(self, batch: ImageBatch) -> None:
        await batch.drain(self._outage_gate)
        if not self.ending:
            await self._studio.cancel_batch(batch.id)

    def _do(self, work: Coroutine[None, None, object]) -> asyncio.Task[None]:
        task = asyncio.create_task(_log_failure(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _remember(self, monitor: BatchMonitor) -> None:
        while len(self._monitors) >= _KEPT:
            oldest = next((name for name, each in self._monitors.items() if each.over), None)
            if oldest is None:
                break
            del self._monitors[oldest]
        self._monitors[monitor.batch.id] = monitor


async def _cancel(batch: ImageBatch) -> None:
    await batch.cancel()


async def _log_failure(work: Coroutine[None, None, object]) -> None:
    """Nobody waits for this work: what goes wrong is told in the log."""
    try:
        await work
    except (ImageError, OmniError) as error:
        _logger.warning("%s", error)
