"""Endings: SIGTERM and Ctrl-C end the server as they end a batch at a shell; a second one, at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from vllm_image_mcp.state import State
    from vllm_image_mcp.transport.stdio import StdioHost

__all__ = ["Shutdown", "shut_down_on_signals"]


DRAIN_SECONDS = 10.0
"""How long what is under way may still take."""


_logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 1.0
"""How long the calls whose pictures have ended may take to answer."""


class Shutdown:
    """The end of a server, as signals ask for it.

    Attributes:
        number: The first signal that came; None while none has.
    """

    def __init__(self, state: State, host: StdioHost) -> None:
        self.number: int | None = None
        self._state = state
        self._host = host
        self._draining: asyncio.Task[None] | None = None

    def receive(self, number: int) -> None:
        """A signal has come."""
        if self._draining is None:
            self.number = number
            self._draining = asyncio.create_task(self._drain())
        else:
            self._draining.cancel()
            self._host.end()

    def die(self) -> None:
        """Die of the signal that came, so that whoever sent it sees that; return if none has."""
        if self.number is not None:
            signal.signal(self.number, signal.SIG_DFL)
            os.kill(os.getpid(), self.number)

    async def _drain(self) -> None:
        if self._state.is_working:
            _logger.warning(
                "Ending: images in progress have %.0f s; a second signal ends at once.",
                DRAIN_SECONDS,
            )
            await self._state.drain(DRAIN_SECONDS)
            await self._host.wait_for_replies(_ANSWER_SECONDS)
        self._host.end()


@contextmanager
def shut_down_on_signals(ending: Shutdown) -> Generator[None]:
    """Take Ctrl-C and SIGTERM, on the event loop that runs, until the block ends."""
    loop = asyncio.get_running_loop()
    taken: list[int] = []
    # Windows cannot do this; there Ctrl-C ends the process as ever.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ending.receive, int(number))
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
