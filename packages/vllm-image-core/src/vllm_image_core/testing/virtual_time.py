"""An event loop whose clock jumps: hours pass in no time, in the same order each time.

    seconds = run(main())  # asyncio.sleep(300) inside of it takes no time at all

Threads of the event loop's executor are waited for in real time, during which the clock stands still; for
others say how long each step of time may wait for them. Sockets are not meant for it.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple

__all__ = ["NothingWillHappen", "VirtualTimeLoop", "run"]

_DEADLOCK_SECONDS: Final = 1.0
"""In real time: when nothing happens for so long, and no timer runs, nothing will."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NothingWillHappen(RuntimeError):
    """All tasks wait for each other: no timer runs and no thread is at work."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at 0 and goes to the next timer as soon as there is nothing else to do."""

    def __init__(self, thread_seconds: float = 0.0) -> None:
        self.thread_seconds = thread_seconds
        self._now = 0.0
        self._threads = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread; the clock stands still until it has ended."""
        self._threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, *timeout: float) -> None:
        """Wait for the executor's threads, with the clock standing still: its limit is one of real time."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._threads -= 1

    @property
    def waits_for_threads(self) -> bool:
        """Whether a thread is at work."""
        return self._threads > 0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def _thread_ended(self, _: asyncio.Future[T]) -> None:
        self._threads -= 1


class _Selector(selectors.DefaultSelector):
    """Where an event loop waits; this one lets virtual time pass instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self._loop.waits_for_threads:
            return super().select(None)
        ready = super().select(_DEADLOCK_SECONDS if timeout is None else self._loop.thread_seconds)
        if ready:
            return ready
        if timeout is None:
            raise NothingWillHappen("all tasks wait, no timer runs and no thread is at work")
        self._loop.advance(timeout)
        return []


def run(main: Coroutine[Any, Any, T], *, thread_seconds: float = 0.0) -> T:
    """Run a coroutine in virtual time, from 0.

    Args:
        main: What to run.
        thread_seconds: How long, in real time, threads of others are waited for before time goes on.

    Raises:
        NothingWillHappen: It would wait for ever.
    """
    with asyncio.Runner(loop_factory=functools.partial(VirtualTimeLoop, thread_seconds)) as runner:
        return runner.run(main)
