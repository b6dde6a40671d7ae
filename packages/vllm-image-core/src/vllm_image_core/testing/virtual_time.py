"""Run coroutines on an event loop with a virtual clock, so that hours pass at once and reproducibly.

    seconds = run(main())  # asyncio.sleep(300) inside it takes no time at all

The loop waits for threads of its executor in real time, while its clock stands still; for other threads, say
how long each step of time may wait for them. Do not use sockets with it.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple

_DEADLOCK_SECONDS: Final = 1.0
"""In real time: if nothing happens for this long and no timer runs, nothing ever will."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualDeadlock(RuntimeError):
    """All tasks wait for each other: no timer runs and no thread works."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at 0 and jumps to the next timer when there is nothing else to do."""

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
        """Run a function in a thread; the clock stands still until it returns."""
        self._threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    async def shutdown_default_executor(self, *timeout: float) -> None:
        """Wait for the executor's threads while the clock stands still, since the timeout is in real time."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._threads -= 1

    @property
    def waits_for_threads(self) -> bool:
        """Whether a thread is working."""
        return self._threads > 0

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self._now += seconds

    def _thread_ended(self, _: asyncio.Future[T]) -> None:
        self._threads -= 1


class _Selector(selectors.DefaultSelector):
    """A selector that advances virtual time instead of waiting."""

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
            raise VirtualDeadlock("all tasks wait, no timer runs and no thread works")
        self._loop.advance(timeout)
        return []


def run(main: Coroutine[Any, Any, T], *, thread_seconds: float = 0.0) -> T:
    """Run a coroutine in virtual time, from 0.

    For other threads than the executor's, each step of time waits `thread_seconds` of real time.

    Raises:
        VirtualDeadlock: It would wait forever.
    """
    with asyncio.Runner(loop_factory=functools.partial(VirtualTimeLoop, thread_seconds)) as runner:
        return runner.run(main)
