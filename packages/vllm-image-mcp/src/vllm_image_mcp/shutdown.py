"""Shut down on SIGTERM or Ctrl-C: drain images in progress, or stop at once at the second signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from vllm_image_mcp.state import State
    from vllm_image_mcp.transport.stdio import StdioHost
_logger = logging.getLogger(__name__)

_SIGNALS: tuple[int, ...] = tuple(
    int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)
"""SIGBREAK is Ctrl-Break, and what Windows sends when a console is closed."""

DRAIN_SECONDS = 10.0
"""How long images in progress may take after the first signal."""

_ANSWER_SECONDS = 1.0
"""How long pending calls may take to answer after the drain."""


class Shutdown:
    """Shuts a server down when signals arrive.

    Attributes:
        number: The first signal received; None if there was none.
    """

    def __init__(self, state: State, host: StdioHost) -> None:
        self.number: int | None = None
        self._state = state
        self._host = host
        self._draining: asyncio.Task[None] | None = None

    def receive(self, number: int) -> None:
        """Start to drain at the first signal; stop at once at the second."""
        if self._draining is None:
            self.number = number
            self._draining = asyncio.create_task(self._drain())
        else:
            self._draining.cancel()
            self._host.end()

    def die(self) -> None:
        """Die from the received signal, so that its sender sees that; return if there was none."""
        if self.number is not None:
            signal.signal(self.number, signal.SIG_DFL)
            os.kill(os.getpid(), self.number)

    async def _drain(self) -> None:
        if self._state.is_working:
            _logger.warning(
                "Stopping: images in progress have %.0f s to finish; a second signal stops at once.",
                DRAIN_SECONDS,
            )
            await self._state.drain(DRAIN_SECONDS)
            await self._host.wait_for_replies(_ANSWER_SECONDS)
        self._host.end()


@contextmanager
def handle_signals(receive: Callable[[int], None]) -> Generator[None]:
    """Pass Ctrl-C, Ctrl-Break and SIGTERM on the running event loop to a function until the block ends."""
    with ExitStack() as stack:
        # Not possible outside the main thread; there, Ctrl-C ends the process as usual.
        with suppress(RuntimeError, ValueError):
            for number in _SIGNALS:
                stack.callback(_handle(number, receive))
        yield


def _handle(number: int, receive: Callable[[int], None]) -> Callable[[], object]:
    """Handle a signal on the running event loop; return the function that ends this."""
    loop = asyncio.get_running_loop()

    def pass_on(which: int, _: object) -> None:
        loop.call_soon_threadsafe(receive, which)

    try:
        loop.add_signal_handler(number, receive, number)
    except NotImplementedError:  # on Windows
        before = signal.signal(number, pass_on)
        return partial(signal.signal, number, signal.SIG_DFL if before is None else before)
    return partial(loop.remove_signal_handler, number)
