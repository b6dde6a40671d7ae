"""A watch on a batch: what its pictures told as they were saved, without the pictures themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_image_core.batches.worker_pool import Done, Failed

from vllm_image_mcp.error_messages import notes_for_model
from vllm_image_mcp.results.image_results import describe, image_result
from vllm_image_mcp.results.parameters_used import Parameters, parameters_of_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.handle import ImageBatch

    from vllm_image_mcp.results.tool_results import ImageResult

__all__ = ["BatchMonitor", "SavedImage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """A picture as it was when it was saved.

    Attributes:
        answer: What generate_image tells of it.
        parameters: What it was made with, beside its prompt and seed.
        notes: Its own, without the server's.
        described: It, in a few words.
    """

    answer: ImageResult
    described: str
    parameters: Parameters
    notes: tuple[str, ...]


class BatchMonitor:
    """A batch of this process, followed to its end whether anybody waits for it or not.

    Args:
        batch: Not begun yet, or at work.
        folder: The output folder.
        notes: The server's own, told with every picture.

    Attributes:
        batch: The batch.
        seen: The pictures that were saved since the watch began, by index.
        errors: What failed since then, by index.
        over: Whether nothing more will come, and all that came is known.
        fault: What ended the work as a whole: a bug, or another process that took the batch over.
    """

    def __init__(self, batch: ImageBatch, *, folder: Path, notes: Sequence[str]) -> None:
        self.batch = batch
        self.seen: dict[int, SavedImage] = {}
        self.errors: dict[int, Exception] = {}
        self.over: bool = False
        self.fault: Exception | None = None
        self._folder = folder
        self._notes = tuple(notes)
        self._news = asyncio.Event()
        batch.listen(self._hear)

    @property
    def ended_count(self) -> int:
        """How many pictures have ended, those from before the watch included."""
        progress = self.batch.progress
        return progress.done + progress.failed

    async def follow(self) -> None:
        """Take the outcomes as they come, to the end of the batch."""
        try:
            async for outcome in self.batch:
                match outcome:
                    case Done(index=index, value=image):
                        self.seen[index] = SavedImage(
                            answer=image_result(
                                image, batch_id=self.batch.id, notes=self._notes, folder=self._folder
                            ),
                            described=describe(image),
                            parameters=parameters_of_image(image),
                            notes=notes_for_model(image.notes),
                        )
                    case Failed(index=index, error=error):
                        self.errors[index] = error
                if self.ended_count != self.batch.progress.total:  # the end is told in a moment
                    self._tell()
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: who asks for the batch is told
            self.fault = error
        finally:
            self.over = True
            self._tell()

    async def news(self, seconds: float) -> None:
        """Wait for the next picture or the end, at most so long."""
        if self.over:
            return
        news = self._news
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()

    def _hear(self, event: Event) -> None:
        if event.kind == "paused":
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
