"""Handle Ctrl-C and SIGTERM while a batch runs: the first signal drains it, the second closes it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from vllm_image_mcp.command_line import echo
from vllm_image_mcp.shutdown import DRAIN_SECONDS, handle_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from vllm_image_core.batches.handle import ImageBatch


class Interrupts:
    """The signals received while a batch runs.

    Attributes:
        status: The exit status for the first signal, 128 plus its number; 0 if there was none.
    """

    def __init__(self, batch: ImageBatch, say: Callable[[str], None]) -> None:
        self.status: int = 0
        self._batch = batch
        self._say = say
        self._ending: list[asyncio.Task[object]] = []

    def receive(self, number: int) -> None:
        """Drain the batch at the first signal, close it at the second."""
        if not self.status:
            self.drain(status=128 + number)
        else:
            self._ending.append(asyncio.create_task(self._batch.close()))

    def drain(self, *, status: int) -> None:
        """Let the images in progress finish, and start no more."""
        self.status = status
        self._say(
            f"Stopping: images in progress have {DRAIN_SECONDS:.0f} s to finish. "
            "Press Ctrl-C again to stop now."
        )
        self._ending.append(asyncio.create_task(self._batch.drain(DRAIN_SECONDS)))

    async def wait(self) -> None:
        """Wait until the drain or the close that a signal started has ended."""
        await asyncio.gather(*self._ending)


@contextmanager
def interruptible(batch: ImageBatch, say: Callable[[str], None] | None = None) -> Generator[Interrupts]:
    """Drain or close a batch on Ctrl-C and SIGTERM until the block ends; `say` prints that it stops."""
    interrupts = Interrupts(batch, say or partial(echo, err=True))
    with handle_signals(interrupts.receive):
        yield interrupts
