"""A picture that is paid for, from its arrival until it is saved: it is never let go of in between."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Protocol

from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.generated import GeneratedImage

__all__ = ["Hold", "Kept", "Record", "saved"]

Record = Callable[[GeneratedImage], None]
"""Told of a picture as soon as it is saved, also when whoever waits for it has been cancelled."""

Hold = Callable[[PictureNotSaved], Awaitable[bool]]
"""Waits until a picture that could not be saved may be tried again; False: nobody waits any longer."""


class Kept(Protocol):
    """Saves a picture; with `spill` elsewhere, where its folder does not take it. Waits for the disk."""

    def __call__(self, *, spill: bool) -> GeneratedImage:
        """Save it.

        Raises:
            PictureNotSaved: It could not be written.
        """
        ...


async def saved(kept: Kept, record: Record, hold: Hold | None) -> GeneratedImage:
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
