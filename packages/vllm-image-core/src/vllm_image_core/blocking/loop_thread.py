"""Run an event loop in a thread of its own, and wait for its coroutines from blocking code."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

_TICK_SECONDS: Final = 0.25
"""On Windows, only a wait with a time limit can be interrupted by Ctrl-C."""

_CANCEL_SECONDS: Final = 2.0
"""How long an interrupted call may take to clean up."""

_CANCELLED: Final = "Interrupted: the call was cancelled. The server may still finish it."
"""What a notebook shows instead of an interrupt's traceback."""

_JOIN_SECONDS: Final = 5.0


class LoopThread:
    """An event loop in a daemon thread. Other event loops may run in the caller's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="blocking studio", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return self._loop.is_closed()

    def wait_for(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine on the loop and return its result; an interrupt cancels it."""
        if self.closed:
            coroutine.close()
            raise RuntimeError("this studio is closed")
        ended, explanation = threading.Event(), list[Callable[[], list[str]]]()

        async def run() -> Value:
            try:
                return await coroutine
            except asyncio.CancelledError as error:
                explanation.extend(filter(None, [getattr(error, "_render_traceback_", None)]))
                raise
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            while True:
                done, _ = concurrent.futures.wait([future], timeout=_TICK_SECONDS)
                if done:
                    return future.result()
        except KeyboardInterrupt as error:
            future.cancel()
            ended.wait(_CANCEL_SECONDS)
            lines = explanation[0]() if explanation else [_CANCELLED]
            error.__dict__["_render_traceback_"] = lambda: [line.replace("await ", "") for line in lines]
            raise

    def submit(self, coroutine: Coroutine[Any, Any, Value]) -> "concurrent.futures.Future[Value]":
        """Start a coroutine on the loop, and return its future without waiting."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[[], Value]) -> Value:
        """Call a function on the loop's thread and return its result."""

        async def call() -> Value:
            return function()

        return self.wait_for(call())

    def close(self, last: Coroutine[Any, Any, object]) -> None:
        """Run a last coroutine, then stop; closing again does nothing."""
        if self.closed:
            last.close()
        elif threading.current_thread() is self._thread:  # a garbage collection that happened to run here
            self._ending = self._loop.create_task(self._end(last))
        else:
            try:
                self.wait_for(last)
            finally:
                self.stop()

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_SECONDS)

    async def _end(self, last: Coroutine[Any, Any, object]) -> None:
        try:
            await last
        finally:
            self._loop.stop()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
