"""Track the batches that this server runs: begin, resume and drain them, and follow each to its end."""

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
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.studio import Studio

    from vllm_image_mcp.telemetry.observer import Observer

_logger = logging.getLogger(__name__)

MOST_REMEMBERED: Final = 100
"""How many ended batches a process remembers, with their images' results: about 0.1 MB each."""

_FOLLOW_SECONDS: Final = 1.0
"""How long recording the outcomes of a drained batch may take."""


class ServerEnding(ImageError):
    """The server is shutting down and begins no more work."""

    usual_next_step = "Call again after it has been restarted; get_batch with resume=true continues a batch."


class BatchTracker:
    """The batches of one server process.

    Args:
        studio: The studio that runs them.
        notes: The server's own, added to every result.
        drain_seconds: How long images in progress may take once nobody waits for them any more.
        listener: Called with a batch's id and each of its events.
        observer: Measures the images; None for nothing.
        remembered: How many ended batches to remember; others are read from the journal and the folder.

    Attributes:
        ending: Whether the server is shutting down: no batch begins, and none is cancelled with its call.
    """

    def __init__(
        self,
        studio: Studio,
        *,
        notes: Sequence[str],
        drain_seconds: float,
        listener: Callable[[str, Event], None] | None = None,
        observer: Observer | None = None,
        remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._remembered = remembered
        self.ending: bool = False
        self._listener = listener
        self._observer = observer
        self._studio = studio
        self._notes = tuple(notes)
        self._drain_seconds = drain_seconds
        self._monitors: dict[str, BatchMonitor] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: dict[str, asyncio.Task[None]] = {}

    def monitor_of(self, batch_id: str) -> BatchMonitor | None:
        """The monitor of a batch that was begun or resumed here; None for any other."""
        return self._monitors.get(batch_id)

    async def begin(self, batch: ImageBatch) -> BatchMonitor:
        """Begin or resume a batch and follow it; if this call is cancelled first, it does not begin.

        Raises:
            ImageError: It cannot begin: a request is invalid, the folder cannot be written, and so on.
            OmniError: The server does not report its model.
        """
        if self.ending:
            raise ServerEnding("This MCP server is shutting down, so nothing was sent.")
        current = self._monitors.get(batch.id)
        if current is not None and not current.over and current.batch is batch:
            return current
        try:
            await batch
        except asyncio.CancelledError:
            self._start(batch.cancel())
            raise
        monitor = BatchMonitor(
            batch, folder=self._studio.output_dir, notes=self._notes, on_outcome=self._observe
        )
        if self._listener is not None:
            batch.listen(functools.partial(self._listener, batch.id))
        self._remember(monitor)
        self._start(monitor.follow())
        return monitor

    def wind_down(self, monitor: BatchMonitor) -> None:
        """Send no more requests and let those in progress finish, since the GPU already works on them."""
        task = self._start(self._drain_and_cancel(monitor.batch))
        self._given_up[monitor.batch.id] = task
        task.add_done_callback(lambda _: self._given_up.pop(monitor.batch.id, None))

    def is_given_up(self, batch_id: str) -> bool:
        """Whether a batch sends no more requests but still has some in progress."""
        return batch_id in self._given_up

    async def wait_until_settled(self, monitor: BatchMonitor) -> None:
        """After the last image of a given-up batch, wait until the journal says how the batch ended."""
        task = self._given_up.get(monitor.batch.id)
        if monitor.over and task is not None:
            await asyncio.wait([task])

    async def resume_all(self) -> None:
        """Resume every interrupted batch; log those that cannot be resumed."""
        for found in await self._studio.batches():
            if found.state == "interrupted":
                try:
                    await self.begin(self._studio.resume(found.id))
                except (ImageError, OmniError) as error:
                    _logger.warning("Batch %s cannot be resumed: %s", found.id, error)

    @property
    def is_working(self) -> bool:
        """Whether a batch is in progress."""
        return any(not each.over for each in self._monitors.values())

    async def drain(self, seconds: float) -> None:
        """Begin no more work and give images in progress time to finish; the batches can be resumed."""
        self.ending = True
        monitors = [each for each in self._monitors.values() if not each.over]
        drains = [_log_failure(each.batch.drain(seconds)) for each in monitors]
        await asyncio.gather(*drains)
        async with asyncio.timeout(_FOLLOW_SECONDS):
            while any(not each.over for each in monitors):
                await asyncio.gather(*(each.wait_for_change(_FOLLOW_SECONDS) for each in monitors))

    async def aclose(self) -> None:
        """Stop following the batches; the studio makes them resumable when it closes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _observe(self, batch_id: str, outcome: GeneratedImage | Exception) -> None:
        if self._observer is None:
            return
        if isinstance(outcome, Exception):
            self._observer.record_failure(outcome, batch_id=batch_id)
            return
        try:
            seconds = await self._studio.gpu_seconds(outcome)
        except OmniError:
            seconds = None
        self._observer.record_image(outcome, batch_id=batch_id, gpu_seconds=seconds)

    async def _drain_and_cancel(self, batch: ImageBatch) -> None:
        await batch.drain(self._drain_seconds)
        if not self.ending:
            await self._studio.cancel_batch(batch.id)

    def _start(self, work: Coroutine[None, None, object]) -> asyncio.Task[None]:
        task = asyncio.create_task(_log_failure(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _remember(self, monitor: BatchMonitor) -> None:
        ended = [name for name, each in self._monitors.items() if each.over]
        for name in ended[: max(0, len(ended) - self._remembered)]:
            del self._monitors[name]
        self._monitors[monitor.batch.id] = monitor


async def _log_failure(work: Coroutine[None, None, object]) -> None:
    """Await work and log its failure, since nobody else awaits it."""
    try:
        await work
    except (ImageError, OmniError) as error:
        _logger.warning("%s", error)
