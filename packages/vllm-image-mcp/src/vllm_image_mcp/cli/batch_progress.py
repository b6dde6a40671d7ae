"""A batch on its way, shown at a shell: pictures on stdout, the rest on stderr."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click
from vllm_image_core.batches.worker_pool import Done
from vllm_image_core.estimation.backlog import Eta, duration
from vllm_image_core.text import path_text

from vllm_image_mcp.cli.interrupts import interruptible
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.error_messages import in_our_words, sentence
from vllm_image_mcp.options import how_to_resume

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.item_states import PictureOutcome

    from vllm_image_mcp.state import State

__all__ = ["BatchProgress", "on_gpu", "time_left"]

_MOST_NOTES = 100
_PROGRESS_SECONDS = 5.0


class BatchProgress:
    """Shows one batch.

    Args:
        state: What the command works with.
        made: The batch, begun or not.
        as_json: Whether each picture is a JSON object, and not a line for people.
        lines: The lines of the file that the requests stand in, where they came from one.
    """

    def __init__(self, state: State, made: ImageBatch, *, as_json: bool, lines: Sequence[int] = ()) -> None:
        self._state = state
        self._batch = made
        self._as_json = as_json
        self._lines = lines
        self._notes = dict.fromkeys(state.notes)
        self._told_at = time.monotonic()
        self._done = self._failed = self._removed = self._spilled = 0
        self._paths: list[Path] = []

    async def show(self) -> int:
        """Begin the batch, show what comes of it, and return the exit status."""
        made = await self._batch
        before = made.progress
        requests = "1 request" if before.total == 1 else f"{before.total} requests"
        begun = f"{made.id}: {requests}, {before.done} done, {made.at_once} at a time"
        click.echo(begun + time_left(made.eta), err=True)
        with interruptible(made) as interrupts:
            async for outcome in made:
                self._show(outcome)
                self._show_progress()
            await interrupts.wait()
        self._removed = await asyncio.to_thread(_missing, self._paths)
        self._show_end()
        is_complete = made.progress.done == made.progress.total and not (self._removed or self._spilled)
        return interrupts.status or (0 if is_complete else 1)

    def _show(self, outcome: PictureOutcome) -> None:
        if isinstance(outcome, Done):
            self._done += 1
            self._spilled += outcome.value.spilled
            self._note(outcome.value.notes)
            self._paths.append(outcome.value.path)
        else:
            self._failed += 1
        if self._as_json:
            click.echo(json_line(self._object(outcome)))
        elif isinstance(outcome, Done):
            image = outcome.value
            click.echo(f"{self._count()} {path_text(image.path)}  seed {image.seed}  {image.seconds:.2f} s")
        if not isinstance(outcome, Done):
            where = self._label(outcome.index)
            click.echo(f"{self._count()} {where} failed: {sentence(outcome.error)}", err=True)

    def _object(self, outcome: PictureOutcome) -> dict[str, object]:
        about = {
            "batch_id": self._batch.id,
            "index": outcome.index,
            "line": self._lines[outcome.index] if outcome.index < len(self._lines) else None,
            "status": "done" if isinstance(outcome, Done) else "failed",
            "prompt": outcome.item.prompt,
            "seed": outcome.item.seed,
        }
        if not isinstance(outcome, Done):
            return {**about, "error": sentence(outcome.error)}
        image = outcome.value
        return {
            **about,
            "path": path_text(image.path),
            "width": image.picture.width,
            "height": image.picture.height,
            "seconds": round(image.seconds, 3),
            "model": image.model,
            "reused": image.reused,
        }

    def _label(self, index: int) -> str:
        return f"line {self._lines[index]}" if index < len(self._lines) else f"request {index}"

    def _count(self) -> str:
        """How many requests have ended, those of before a resumption too, and of how many."""
        progress = self._batch.progress
        return f"[{progress.done + progress.failed - self._batch.unread}/{progress.total}]"

    def _how_to_resume(self) -> str:
        return how_to_resume(self._batch.id, as_json=self._as_json)

    def _note(self, notes: Iterable[str]) -> None:
        for note in notes:
            if len(self._notes) < _MOST_NOTES:
                self._notes.setdefault(note)

    def _show_progress(self) -> None:
        now = time.monotonic()
        if now - self._told_at < _PROGRESS_SECONDS:
            return
        self._told_at = now
        progress = self._batch.progress
        counts = f"{progress.done} of {progress.total} done, {progress.failed} failed"
        click.echo(counts + time_left(self._batch.eta), err=True)

    def _show_end(self) -> None:
        made, progress, removed = self._batch, self._batch.progress, self._removed
        ended = f"{self._done - removed} made, {self._failed} failed, {made.seconds:.1f} s"
        click.echo(ended, err=True)
        if removed:
            images = "1 image was" if removed == 1 else f"{removed} images were"
            click.echo(f"{images} made and then removed from the folder, by something else.", err=True)
        if made.cancelled:
            why = f" {on_gpu(made.running_at_cancel)}" if made.running_at_cancel else ""
            click.echo(f"The batch is cancelled: {progress.cancelled} were not made.{why}", err=True)
        elif progress.waiting:
            why = f" {in_our_words(made.cause)}" if made.cause else ""
            click.echo(f"{progress.waiting} are left.{why} {self._how_to_resume()}", err=True)
        elif removed:
            click.echo(f"To make what was removed again: {self._how_to_resume()}", err=True)
        for note in self._notes:
            click.echo(note, err=True)


def _missing(paths: Sequence[Path]) -> int:
    """How many files are not there any more."""
    return sum(not path.exists() for path in paths)


def time_left(eta: Eta) -> str:
    """Such as ", about 40 s left (23 images on this server)"; nothing where nobody can tell."""
    return "" if eta.seconds is None else f", {duration(eta.seconds)} left ({eta.basis})"


def on_gpu(count: int) -> str:
    """What is told of pictures that were under way when their batch was cancelled."""
    return f"{count} may still be finished on the GPU; they are not saved." if count else ""
