"""Follow a batch of this process and remember the result of each image, without its pixels."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_image_core.batches.items import Done, Failed

from vllm_image_mcp.error_messages import notes_for_model
from vllm_image_mcp.results.image_results import image_result
from vllm_image_mcp.results.parameters_used import Parameters, parameters_of_image

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.requests.generated_image import GeneratedImage

    from vllm_image_mcp.results.tool_results import ImageResult


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredImage:
    """What is known of an image at the moment it is saved.

    Attributes:
        result: Its result, as generate_image returns it.
        description: A few words about it.
        parameters: What it was generated with, besides prompt and seed.
        notes: Its own notes, without the server's.
        receipt: What became of each parameter, in the short form of image files.
    """

    result: ImageResult
    description: str
    parameters: Parameters
    notes: tuple[str, ...]
    receipt: Mapping[str, Mapping[str, object]]


class BatchMonitor:
    """Follows a batch of this process to its end, whether anybody waits for it or not.

    Attributes:
        saved: The images saved since the monitor began, by index.
        errors: The failures since then, by index.
        over: Whether the batch has ended and every outcome has been recorded.
        fault: What ended the batch early: a bug, or another process that took it over.
    """

    def __init__(
        self,
        batch: ImageBatch,
        *,
        folder: Path,
        notes: Sequence[str],
        on_outcome: Callable[[str, GeneratedImage | Exception], Awaitable[None]] | None = None,
    ) -> None:
        self.batch = batch
        self._on_outcome = on_outcome
        self.saved: dict[int, MonitoredImage] = {}
        self.errors: dict[int, Exception] = {}
        self.over: bool = False
        self.fault: Exception | None = None
        self._folder = folder
        self._notes = tuple(notes)
        self._news = asyncio.Event()
        batch.listen(self._on_event)

    @property
    def ended_count(self) -> int:
        """How many images have ended, including those from before the monitor began."""
        progress = self.batch.progress
        return progress.done + progress.failed

    async def follow(self) -> None:
        """Record the outcomes as they come, until the batch ends."""
        try:
            async for outcome in self.batch:
                match outcome:
                    case Done(index=index, value=image):
                        self.saved[index] = MonitoredImage(
                            result=image_result(
                                image, batch_id=self.batch.id, notes=self._notes, folder=self._folder
                            ),
                            description=f"{image.picture.size}, seed {image.seed}",
                            parameters=parameters_of_image(image),
                            notes=notes_for_model(image.notes),
                            receipt=image.receipt.compact(),
                        )
                        if not self.batch.unread:
                            self.batch.forget_images()
                        await self._report(image)
                    case Failed(index=index, error=error):
                        self.errors[index] = error
                        await self._report(error)
                progress = self.batch.progress
                if progress.done + progress.failed != progress.total:  # the end is announced below
                    self._notify()
        except Exception as error:  # noqa: BLE001 - nobody awaits this task; begin_and_wait raises the fault
            self.fault = error
        finally:
            self.batch.forget_images()
            self.over = True
            self._notify()

    async def wait_for_change(self, seconds: float) -> None:
        """Wait for the next image or the end, for at most this many seconds."""
        if self.over:
            return
        news = self._news
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()

    async def _report(self, outcome: GeneratedImage | Exception) -> None:
        if self._on_outcome is not None:
            await self._on_outcome(self.batch.id, outcome)

    def _on_event(self, event: Event) -> None:
        if event.kind == "paused":
            self._notify()

    def _notify(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
