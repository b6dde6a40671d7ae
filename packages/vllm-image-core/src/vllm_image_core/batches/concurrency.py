"""Concurrency: choose how many images of a new or resumed batch to generate at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.batch_row import BatchRow

Chosen = Literal["batch", "studio"]
"""Where the number comes from: the call that created or resumed the batch, or the studio's settings."""

_MODEL_SECONDS: Final = 1.0
"""How long a resumed batch waits for its server's model, which decides how many images fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many images to generate at once.

    Attributes:
        number: At least 1.
        chosen: Where the number comes from; None if nobody set it.
        fixed: Whether it is fixed; otherwise it follows the servers' throughput.
    """

    number: int
    chosen: Chosen | None
    fixed: bool


class ConcurrencyChooser:
    """Choose the concurrency of a studio's batches.

    Args:
        recommended: Checks a requested number; for None, returns the studio's number, or what the GPU's
            memory allows.
        is_set: Whether the studio was given a number.
    """

    def __init__(self, recommended: Callable[[int | None], Awaitable[int]], *, is_set: bool) -> None:
        self._recommended = recommended
        self._is_set = is_set

    async def for_new(self, requested: int | None) -> Concurrency:
        """Choose for a new batch.

        Raises:
            InvalidRequest: The requested number is not valid.
            OmniError: No number was requested, and the server does not report its model.
        """
        number = await self._recommended(requested)
        chosen: Chosen | None = "studio" if self._is_set else None
        return _label(number, chosen if requested is None else "batch")

    async def for_resumed(self, requested: int | None, batch_row: BatchRow) -> Concurrency:
        """Choose for a resumed batch: as before, unless another number is requested now.

        A number requested for the batch takes precedence over the studio's setting; of two studios, the one
        that resumes it wins.

        Raises:
            InvalidRequest: The requested number is not valid.
        """
        if requested is not None:
            return _label(await self._recommended(requested), "batch")
        if batch_row.chosen == "batch" or (batch_row.chosen == "studio" and not self._is_set):
            return _label(batch_row.at_once, batch_row.chosen)
        try:
            async with asyncio.timeout(_MODEL_SECONDS):
                return await self.for_new(None)
        except (OmniError, TimeoutError):  # a batch may be resumed while its server is unavailable
            return Concurrency(number=batch_row.at_once, chosen=None, fixed=True)


def _label(number: int, chosen: Chosen | None) -> Concurrency:
    return Concurrency(number=number, chosen=chosen, fixed=chosen is not None)
