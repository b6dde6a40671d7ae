"""Ctrl-C while a batch runs: once lets what is under way end, twice closes all at once; SIGTERM is once."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from vllm_image_mcp.shutdown import DRAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from vllm_image_core.batches.handle import ImageBatch

__all__ = ["Interrupts", "interruptible"]


class Interrupts:
    """What came while a batch ran.

    Attributes:
        status: The exit status for it, 128 and the signal's number; 0 while nothing came.
    """

    def __init__(self, batch: ImageBatch) -> None:
        self.status: int = 0
        self._batch = batch
        self._ending: list[asyncio.Task[object]] = []

    def receive(self, number: int) -> None:
        """A signal has come."""
        if not self.status:
            self.status = 128 + number
            click.echo(
                f"Ending: pictures under way have {DRAIN_SECONDS:.0f} s; Ctrl-C once more closes at once.",
                err=True,
            )
            self._ending.append(asyncio.create_task(self._batch.drain(DRAIN_SECONDS)))
        else:
            self._ending.append(asyncio.create_task(self._batch.close()))

    async def wait(self) -> None:
        """Wait until what was begun for a signal has ended."""
        await asyncio.gather(*self._ending)


@contextmanager
def interruptible(batch: ImageBatch) -> Generator[Interrupts]:
    """Take Ctrl-C and SIGTERM, on the event loop that runs, until the block ends."""
    interrupts, loop = Interrupts(batch), asyncio.get_running_loop()
    taken: list[int] = []
    # Neither Windows nor a thread beside the main one can do this; there Ctrl-C ends the process as ever.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupts.receive, int(number))
            taken.append(number)
    try:
        yield interrupts
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
