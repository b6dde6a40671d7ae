"""Run one or several images as a batch, so that `resume` can finish it later, and print the results."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.text import path_text

from vllm_image_mcp.cli.command import INTERRUPTED
from vllm_image_mcp.cli.interrupts import interruptible
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.progress_bar import ProgressBar
from vllm_image_mcp.cli.terminal_image import show_in_terminal
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import how_to_resume

if TYPE_CHECKING:
    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.item_states import ImageOutcome
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest

    from vllm_image_mcp.cli.output_file import OutputFile
    from vllm_image_mcp.state import State

PROGRESS_SECONDS: Final = 5.0
"""Time between two lines of progress on stderr."""

BAR_SECONDS: Final = 0.25
"""Time between two updates of the bar on a terminal."""


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """How a command shows its image.

    Attributes:
        quiet: Print only the path, and no progress.
        as_json: Print one JSON object instead, with the keys of the tools' results.
        opens: Also open the image, or the first of several, in the system's viewer.
        file: Where else to put the image.
    """

    quiet: bool = False
    as_json: bool = False
    opens: bool = False
    file: OutputFile | None = None


async def run_images(
    state: State, request: ImageRequest, *, count: int, fresh: bool, output: ImageOutput
) -> int:
    """Generate one or several images with different seeds, print them, and return the exit status."""
    if count == 1:
        return await run_single_image(state, request, fresh=fresh, output=output)
    from vllm_image_mcp.cli.batch_progress import BatchProgress  # noqa: PLC0415 - one image needs none

    state.check_folder()
    batch = state.studio.batch([request], count=count, fresh=fresh)
    progress = BatchProgress(state, batch, as_json=output.as_json, quiet=output.quiet, file=output.file)
    status = await progress.show()
    if output.opens and progress.paths:
        click.launch(str(progress.paths[0]))
    return status


async def run_single_image(state: State, request: ImageRequest, *, fresh: bool, output: ImageOutput) -> int:
    """Generate an image, show progress on stderr, print the result, and return the exit status.

    If the server or the output folder is unavailable, the error is raised at once and the image is cancelled.
    """
    state.check_folder()
    batch = state.studio.batch([request], fresh=fresh)
    paused = asyncio.Event()

    def on_event(event: Event) -> None:
        if event.kind == "paused":
            paused.set()

    batch.listen(on_event)
    await batch
    with interruptible(batch) as interrupts:
        outcome = await _first_of(batch, paused, quiet=output.quiet)
        await interrupts.wait()
    if outcome is not None:
        await batch.wait()  # until its outcome is in the journal, too
    match outcome:
        case Done(value=image):
            _show_image(image, batch.id, state, output)
            return 1 if image.spilled else 0
        case Failed(error=error):
            raise error
        case _ if trouble := batch.trouble:
            await batch.cancel()
            raise trouble
        case _:
            echo(f"The image was not generated. {how_to_resume(batch.id)}", err=True)
            return interrupts.status or INTERRUPTED


async def _first_of(batch: ImageBatch, paused: asyncio.Event, *, quiet: bool) -> ImageOutcome | None:
    """Wait for the outcome; return None if there is none, or if the batch pauses for an outage."""
    with ProgressBar("Generating", timed=True, quiet=quiet) as bar:
        return await _wait_for_first(batch, paused, bar, quiet=quiet)


async def _wait_for_first(
    batch: ImageBatch, paused: asyncio.Event, bar: ProgressBar, *, quiet: bool
) -> ImageOutcome | None:
    tick = BAR_SECONDS if bar.is_shown else PROGRESS_SECONDS
    outcome = asyncio.ensure_future(anext(aiter(batch), None))
    pause = asyncio.ensure_future(paused.wait())
    try:
        while not (outcome.done() or pause.done()):
            await asyncio.wait({outcome, pause}, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
            if quiet or outcome.done() or pause.done():
                continue
            left, seconds = batch.eta.seconds, batch.seconds
            if bar.is_shown:
                total = None if left is None else seconds + left
                bar.update(seconds, total, f"{seconds:.0f} s" if left is None else str(batch.eta))
            else:
                echo(f"{batch.id}: in progress{'' if left is None else f', {batch.eta}'}", err=True)
        return outcome.result() if outcome.done() else None
    finally:
        for each in (outcome, pause):
            each.cancel()
        await asyncio.wait({outcome, pause})


def _show_image(image: GeneratedImage, batch_id: str, state: State, output: ImageOutput) -> None:
    """Print the path of a saved image, its main settings, the notes, and the paths of its layers."""
    path = image.path if output.file is None else output.file.place(image.path)
    if output.opens:
        click.launch(str(path))
    if output.as_json:
        from vllm_image_mcp.results.image_results import image_result  # noqa: PLC0415 - slow to import

        result = image_result(image, batch_id=batch_id, notes=state.notes, folder=state.studio.output_dir)
        copied = {} if output.file is None else {"output_file": path_text(path)}
        echo(json_line({**result.model_dump(mode="json", exclude_none=True), **copied}))
        return
    echo(path_text(path))
    if not output.quiet:
        show_in_terminal(path)
        echo(f"  size   {image.request.size}")
        echo(f"  seed   {image.seed}")
        echo(f"  model  {image.model}")
        echo(f"  steps  {image.request.num_inference_steps}")
        echo(f"  time   {image.seconds:.2f} s")
        for note in (*state.notes, *image.notes):
            echo(f"  note   {note.replace('Use fresh', 'Use --fresh')}")
    for layer in image.layers:
        echo(path_text(layer))
