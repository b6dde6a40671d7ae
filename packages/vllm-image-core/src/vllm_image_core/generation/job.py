"""A picture that is paid for, from its arrival until it is saved: it is never let go of in between."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from vllm_omni_client.generation_budget import GenerationBudget

from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest

__all__ = [
    "Hold",
    "Job",
    "Record",
    "SaveImage",
    "save_guarded",
]


Record = Callable[[GeneratedImage], None]
"""Told of a picture as soon as it is saved, also when whoever waits for it has been cancelled."""

Hold = Callable[[PictureNotSaved], Awaitable[bool]]
"""Waits until a picture that could not be saved may be tried again; False: nobody waits any longer."""


class SaveImage(Protocol):
    """Saves a picture; with `spill` elsewhere, where its folder does not take it. Waits for the disk."""

    def __call__(self, *, spill: bool) -> GeneratedImage:
        """Save it.

        Raises:
            PictureNotSaved: It could not be written.
        """
        ...


async def save_guarded(kept: SaveImage, record: Record, hold: Hold | None) -> GeneratedImage:
    """Save a picture: again as long as `hold` says so, and in the spill folder after that.

    Raises:
        PictureNotSaved: Neither folder took it.
    """
    spilled = functools.partial(kept, spill=True)
    while hold is not None:
        try:
            return await _whole(functools.partial(kept, spill=False), record, otherwise=spilled)
        except PictureNotSaved as error:
            try:
                again = await hold(error)
            except asyncio.CancelledError:
                await asyncio.wait([asyncio.ensure_future(_whole(spilled, record))])
                raise
        if not again:
            break
    return await _whole(spilled, record)


async def _whole(
    kept: Callable[[], GeneratedImage],
    record: Record,
    *,
    otherwise: Callable[[], GeneratedImage] | None = None,
) -> GeneratedImage:
    """Save in a thread; a cancellation goes on when the picture is whole, or `otherwise` was tried."""
    saving = asyncio.ensure_future(asyncio.to_thread(kept))
    try:
        return await asyncio.shield(saving)
    except asyncio.CancelledError:
        await asyncio.wait([saving])
        if otherwise is not None and isinstance(saving.exception(), PictureNotSaved):
            saving = asyncio.ensure_future(asyncio.to_thread(otherwise))
            await asyncio.wait([saving])
        raise
    finally:
        if saving.done() and saving.exception() is None:
            record(saving.result())


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A checked request, and what else decides how it is made.

    Attributes:
        request: Its seed is drawn.
        reuse: Whether a picture that is there already will do.
        batch: The id of the batch that it belongs to.
        position: Its place there, from 0.
        hold: What is waited for where the folder does not take the picture, before that is tried again; None
            where nobody waits: the picture then goes to the spill folder.
        budget: What it may still cost, and what was tried for it.
    """

    request: ImageRequest
    reuse: bool = False
    batch: str | None = None
    position: int | None = None
    hold: Hold | None = None
    budget: GenerationBudget = field(default_factory=GenerationBudget)
