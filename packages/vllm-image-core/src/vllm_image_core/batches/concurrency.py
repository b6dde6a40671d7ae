"""How many pictures of a batch are under way at once, and who has said so: kept when the batch goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.queries import BatchRow

__all__ = ["Chosen", "Concurrency", "ConcurrencyChooser"]

Chosen = Literal["batch", "studio"]
"""Who has said how many: whoever made the batch or went on with it, or the settings of the studio."""

_MODEL_SECONDS: Final = 1.0
"""A batch that goes on waits no longer for its server's model, whose memory tells how many fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many, and whether that stays.

    Attributes:
        number: At least 1.
        chosen: Who has said so; None where nobody has.
        fixed: Whether it stays; otherwise the throughput of the servers decides.
    """

    number: int
    chosen: Chosen | None
    fixed: bool


class ConcurrencyChooser:
    """Decides for the batches of one studio.

    Args:
        recommended: A number that was asked for, checked; for None the studio's own, or as the GPU's memory
            allows.
        is_set: Whether the studio was given a number.
    """

    def __init__(self, recommended: Callable[[int | None], Awaitable[int]], *, is_set: bool) -> None:
        self._recommended = recommended
        self._is_set = is_set

    async def of_new(self, asked: int | None) -> Concurrency:
        """For a batch that is made now.

        Raises:
            InvalidRequest: What was asked for is no such number.
            OmniError: Nothing was asked for, and the server does not tell its model.
        """
        number = await self._recommended(asked)
        chosen: Chosen | None = "studio" if self._is_set else None
        return _label(number, chosen if asked is None else "batch")

    async def of_left(self, asked: int | None, batch_row: BatchRow) -> Concurrency:
        """For a batch that goes on: as many as before, unless something else is said now.

        What was said for this batch alone outweighs what a studio is set to; of two studios the last wins.

        Raises:
            InvalidRequest: What was asked for is no such number.
        """
        if asked is not None:
            return _label(await self._recommended(asked), "batch")
        if batch_row.chosen == "batch" or (batch_row.chosen == "studio" and not self._is_set):
            return _label(batch_row.at_once, batch_row.chosen)
        try:
            async with asyncio.timeout(_MODEL_SECONDS):
                return await self.of_new(None)
        except (OmniError, TimeoutError):  # a batch may go on whose server is away
            return Concurrency(number=batch_row.at_once, chosen=None, fixed=True)


def _label(number: int, chosen: Chosen | None) -> Concurrency:
    return Concurrency(number=number, chosen=chosen, fixed=chosen is not None)
