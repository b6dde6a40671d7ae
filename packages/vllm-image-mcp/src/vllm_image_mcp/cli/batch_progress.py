"""Run a batch at the shell: print each image on stdout, and progress and errors on stderr."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import click
from vllm_image_core.batches.items import Done
from vllm_image_core.estimation.backlog import Eta, duration
from vllm_image_core.text import path_text

from vllm_image_mcp.cli.interrupts import interruptible
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.progress_bar import ProgressBar
from vllm_image_mcp.cli.terminal_image import show_in_terminal
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.error_messages import sentence, with_command_names
from vllm_image_mcp.options import how_to_resume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vllm_image_core.batches.forecast import BatchForecast
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.item_states import ImageOutcome

    from vllm_image_mcp.cli.output_file import OutputFile
    from vllm_image_mcp.state import State

_MOST_NOTES = 100
_PROGRESS_SECONDS = 5.0
_BAR_SECONDS = 0.5


class BatchProgress:
    """Prints the outcomes of one batch; those of a file with the line number of each request.

    Args:
        state: The state of the command.
        batch: The batch.
        as_json: Whether each outcome is a JSON object.
        quiet: Whether only paths are printed, and errors.
        lines: The line number of each request.
        file: Where else to put the images.

    Attributes:
        paths: The images that were generated or found, in the order in which they were finished.
    """

    def __init__(
        self,
        state: State,
        batch: ImageBatch,
        *,
        as_json: bool,
        quiet: bool = False,
        lines: Sequence[int] = (),
        file: OutputFile | None = None,
    ) -> None:
        self._state = state
        self._quiet = quiet
        self._file = file
        self._bar = ProgressBar(quiet=quiet)
        self._batch = batch
        self._as_json = as_json
        self._lines = lines
        self._notes = dict.fromkeys(state.notes)
        self._shown_at = time.monotonic()
        self._done = self._removed = self._spilled = 0
        self._failed: set[int] = set()
        self.paths: list[Path] = []

    async def show(self) -> int:
        """Start the batch, print its outcomes, and return the exit status."""
        batch = await self._batch
        before = batch.progress
        requests = "1 request" if before.total == 1 else f"{before.total} requests"
        started = f"{batch.id}: {requests}, {before.done} done, {batch.concurrency} at a time"
        if not self._quiet:
            self._bar.echo(started + time_left(batch.eta), err=True)
        with self._bar, interruptible(batch, partial(self._bar.echo, err=True)) as interrupts:
            ticking = asyncio.create_task(self._tick())
            async for outcome in batch:
                try:
                    self._show(outcome)
                except click.ClickException as error:  # what is in progress is paid for
                    error.show()
                    interrupts.drain(status=error.exit_code)
                self._show_progress()
            await interrupts.wait()
            ticking.cancel()
        self._removed = await asyncio.to_thread(lambda: sum(not path.exists() for path in self.paths))
        await asyncio.to_thread(self._show_earlier_failures)
        self._show_end()
        is_complete = batch.progress.done == batch.progress.total and not (self._removed or self._spilled)
        return interrupts.status or (0 if is_complete else 1)

    async def _tick(self) -> None:
        """Keep the bar's time up to date between two outcomes."""
        while self._bar.is_shown:
            self._show_bar()
            await asyncio.sleep(_BAR_SECONDS)

    def _show_bar(self) -> None:
        progress = self._batch.progress
        failed = f"{progress.failed} failed" if progress.failed else ""
        left = "" if self._batch.eta.seconds is None else str(self._batch.eta)
        ended = progress.done + progress.failed
        self._bar.update(ended, progress.total, ", ".join(filter(None, (failed, left))))

    def _show(self, outcome: ImageOutcome) -> None:
        if isinstance(outcome, Done):
            self._done += 1
            self._spilled += outcome.value.spilled
            for note in outcome.value.notes[: _MOST_NOTES - len(self._notes)]:
                self._notes.setdefault(note)
            path = outcome.value.path
            self.paths.append(path if self._file is None else self._file.place(path, outcome.index))
        else:
            self._failed.add(outcome.index)
        if self._as_json:
            self._bar.echo(json_line(self._object(outcome)))
        elif isinstance(outcome, Done):
            image = outcome.value
            path = path_text(self.paths[-1])
            about = f"{self._count()} {path}  seed {image.seed}  {image.seconds:.2f} s"
            self._bar.echo(path if self._quiet else about)
            if not self._quiet:
                self._bar.clear()
                show_in_terminal(self.paths[-1])
        if not isinstance(outcome, Done):
            line = self._line(outcome.index)
            where = f"request {outcome.index}" if line is None else f"line {line}"
            self._bar.echo(f"{self._count()} {where} failed: {sentence(outcome.error)}", err=True)

    def _show_earlier_failures(self) -> None:
        """Print which requests failed before the batch was resumed; resuming it does not send them again."""
        errors = self._batch.errors
        earlier = [index for index in errors if index not in self._failed]
        for index in earlier[:_MOST_NOTES]:
            self._bar.echo(f"request {index} failed before: {sentence(errors[index])}", err=True)
        if len(earlier) > _MOST_NOTES:
            self._bar.echo(f"{len(earlier) - _MOST_NOTES} more failed before.", err=True)

    def _object(self, outcome: ImageOutcome) -> dict[str, object]:
        about = {
            "batch_id": self._batch.id,
            "index": outcome.index,
            "line": self._line(outcome.index),
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
            **({} if self._file is None else {"output_file": path_text(self.paths[-1])}),
            "width": image.picture.width,
            "height": image.picture.height,
            "seconds": round(image.seconds, 3),
            "model": image.model,
            "reused": image.reused,
        }

    def _line(self, index: int) -> int | None:
        return self._lines[index] if index < len(self._lines) else None

    def _count(self) -> str:
        """Return how many requests have ended, including before a resume, and how many there are."""
        progress = self._batch.progress
        return f"[{progress.done + progress.failed - self._batch.unread}/{progress.total}]"

    def _show_progress(self) -> None:
        now = time.monotonic()
        if self._bar.is_shown:
            self._show_bar()
        if self._quiet or self._bar.is_shown or now - self._shown_at < _PROGRESS_SECONDS:
            return
        self._shown_at = now
        progress = self._batch.progress
        counts = f"{progress.done} of {progress.total} done, {progress.failed} failed"
        self._bar.echo(counts + time_left(self._batch.eta), err=True)

    def _show_end(self) -> None:
        batch, progress, removed = self._batch, self._batch.progress, self._removed
        next_step = how_to_resume(batch.id, as_json=self._as_json)
        ended = f"{self._done - removed} generated, {len(self._failed)} failed, {batch.seconds:.1f} s"
        if not self._quiet:
            self._bar.echo(ended, err=True)
        if removed:
            images = "1 image was" if removed == 1 else f"{removed} images were"
            self._bar.echo(f"{images} generated, then removed from the folder by another program.", err=True)
        if batch.cancelled:
            why = f" {still_running_note(batch.running_at_cancel)}" if batch.running_at_cancel else ""
            self._bar.echo(
                f"The batch was cancelled; {progress.cancelled} were not generated.{why}", err=True
            )
        elif progress.waiting:
            why = f" {with_command_names(batch.cause)}" if batch.cause else ""
            self._bar.echo(f"{progress.waiting} remaining.{why} {next_step}", err=True)
        elif removed:
            self._bar.echo(f"The removed images can be generated again. {next_step}", err=True)
        for note in () if self._quiet else self._notes:
            self._bar.echo(note.replace("Use fresh", "Use --fresh"), err=True)


def show_forecast(forecast: BatchForecast, *, as_json: bool) -> None:
    """Print what a batch would take before it starts."""
    if as_json:
        seconds, basis = forecast.eta.seconds, forecast.eta.basis
        values = {"images": forecast.images, "seconds": seconds, "basis": basis, "bytes": forecast.bytes}
        echo(json_line(values))
    else:
        echo(str(forecast))


def time_left(eta: Eta) -> str:
    """Format an ETA, such as ", about 40 s left (23 images on this server)"; "" if it is unknown."""
    return "" if eta.seconds is None else f", {duration(eta.seconds)} left ({eta.basis})"


def still_running_note(count: int) -> str:
    """Return the sentence about images that were in progress when their batch was cancelled."""
    return f"The GPU may still finish {count}; they will not be saved." if count else ""
