"""One picture on its way, at a shell: a batch of one, so that what a command leaves can be made later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click
from vllm_image_core.batches.worker_pool import Done, Failed

from vllm_image_mcp.cli.command import INTERRUPTED
from vllm_image_mcp.cli.interrupts import interruptible
from vllm_image_mcp.options import how_to_resume

if TYPE_CHECKING:
    from vllm_image_core.batches.events import Event
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.item_states import PictureOutcome
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest

    from vllm_image_mcp.state import State

__all__ = ["generate_at_shell"]

PROGRESS_SECONDS: Final = 5.0


async def generate_at_shell(state: State, request: ImageRequest, *, fresh: bool) -> GeneratedImage | int:
    """Make a picture, and tell on stderr that it is on its way; where it is not made, the exit status.

    A server or a folder that is away is told at once, and the picture is taken out of the queue.

    Args:
        state: What the command works with.
        request: The picture.
        fresh: Whether it is made anew, also when it was made with that seed before.

    Raises:
        InvalidRequest: The request does not fit the model.
        ImageError: The picture cannot be saved.
        OmniError: The server refused, failed, or did not answer.
    """
    state.check_folder()
    batch = state.studio.batch([request], fresh=fresh)
    paused = asyncio.Event()

    def hear(event: Event) -> None:
        if event.kind == "paused":
            paused.set()

    batch.listen(hear)
    await batch
    with interruptible(batch) as interrupts:
        outcome = await _first_of(batch, paused)
        await interrupts.wait()
    if outcome is not None:
        await batch.wait()  # until its end is written down, too
    match outcome:
        case Done(value=image):
            return image
        case Failed(error=error):
            raise error
        case _ if trouble := batch.trouble:
            await batch.cancel()
            raise trouble
        case _:
            click.echo(f"It was not made. {how_to_resume(batch.id)}", err=True)
            return interrupts.status or INTERRUPTED


async def _first_of(batch: ImageBatch, paused: asyncio.Event) -> PictureOutcome | None:
    """The outcome; None where there is none, or the batch waits for something that is away."""
    outcome = asyncio.ensure_future(anext(aiter(batch), None))
    away = asyncio.ensure_future(paused.wait())
    try:
        while not (outcome.done() or away.done()):
            await asyncio.wait({outcome, away}, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not (outcome.done() or away.done()):
                left = "" if batch.eta.seconds is None else f", {batch.eta}"
                click.echo(f"{batch.id}: on its way{left}", err=True)
        return outcome.result() if outcome.done() else None
    finally:
        for each in (outcome, away):
            each.cancel()
        await asyncio.wait({outcome, away})
