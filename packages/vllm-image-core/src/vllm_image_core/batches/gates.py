"""Gates: pause a batch during an outage, run suspect requests alone, and stop after repeated failures."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vllm_image_core.text import message_of

_LONGEST_WAIT_SECONDS: Final = 120.0
"""Upper limit for the wait that a server may ask for."""

_SHORTEST_SECONDS: Final = 0.01


class GateClosed(Exception):
    """Sending has stopped; the request stays in the queue."""


class OutageGate:
    """Gate for a shared resource: open while it works, closed during an outage, half-open for one trial.

    While the gate is closed, the resource is probed, first immediately and then every `interval_seconds`.
    When a probe succeeds, one caller is let through as a trial; if that succeeds, the gate opens for all.

    Args:
        probe: Whether the resource is available again.
        interval_seconds: Minimum time between two probes.
        outage_seconds: Longest outage to wait out.
        on_change: Called with the reason when an outage begins, and with None when it ends.
        on_give_up: Called with the reason when the outage has lasted too long.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[bool]],
        *,
        interval_seconds: float,
        outage_seconds: float,
        on_change: Callable[[str | None], None],
        on_give_up: Callable[[str], None],
    ) -> None:
        self._probe = probe
        self._interval = interval_seconds
        self._longest_outage = outage_seconds
        self._on_change = on_change
        self._on_give_up = on_give_up
        self._reason: str | None = None
        self._since = 0.0
        self._not_before = 0.0
        self._trial_open = False
        self._trial_running = False
        self._closed = False
        self._changed = asyncio.Event()
        self._checking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_available(self) -> bool:
        """Whether the gate is open for all."""
        return self._reason is None and not self._closed

    @property
    def is_down(self) -> bool:
        """Whether there is an outage and no trial is running."""
        return self._reason is not None and not self._trial_running

    async def check(self) -> bool:
        """Probe the resource now, unless there is an outage; of several callers, one probes at a time.

        A caller that gets False records the failure before it awaits anything; then the others do not probe.
        """
        async with self._checking:
            return not self.is_down and await self._probe()

    async def enter(self) -> None:
        """Wait until the caller may pass.

        Raises:
            GateClosed: The gate was shut for good.
        """
        while self._reason is not None or self._closed:
            if self._closed:
                raise GateClosed
            if self._trial_open:
                self._trial_open, self._trial_running = False, True
                return
            self._changed.clear()
            await self._changed.wait()

    async def wait_until_available(self) -> bool:
        """Wait until a probe succeeds, without a trial; False if the gate was shut for good."""
        while self._reason is not None and not self._closed:
            if self._trial_open:
                self.record_success()
                break
            self._changed.clear()
            await self._changed.wait()
        return not self._closed

    def record_failure(self, reason: str, *, wait_seconds: float = 0.0) -> None:
        """Close the gate; probe again after `wait_seconds` (at most 120) at the earliest."""
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + min(wait_seconds, _LONGEST_WAIT_SECONDS))
        self._trial_open = self._trial_running = False
        if self._reason is None:
            self._since = now
            self._reason = reason
            self._on_change(reason)
        if self._watching is None and not self._closed:
            self._watching = asyncio.create_task(self._watch(), name="outage probe")

    def record_success(self) -> None:
        """Open the gate: the resource works."""
        if self._reason is None:
            return
        self._reason = None
        self._trial_open = self._trial_running = False
        self._on_change(None)
        self._changed.set()

    def close(self) -> None:
        """Shut the gate for good: all who wait get `GateClosed`."""
        self._closed = True
        self._changed.set()
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._reason is not None:
                now, end = loop.time(), self._since + self._longest_outage
                if now >= end and not self._trial_running:
                    self._on_give_up(self._reason)
                    return
                if now >= self._not_before and not (self._trial_open or self._trial_running):
                    self._not_before = now + self._interval
                    if await self._probe():
                        self._trial_open = True
                        self._changed.set()
                await asyncio.sleep(max(_SHORTEST_SECONDS, min(self._not_before, end) - loop.time()))
        finally:
            self._watching = None


class SharedExclusiveGate:
    """Shared/exclusive lock; an exclusive waiter blocks new shared holders."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = 0
        self._taken = False
        self._changed = asyncio.Event()

    async def enter(self, *, alone: bool) -> None:
        """Acquire the lock, shared or exclusive (`alone`); each `enter` needs a `leave`."""
        if alone:
            await self._enter_alone()
            return
        while self._alone or self._taken:
            await self._wait()
        self._inside += 1

    def leave(self) -> None:
        """Release the lock."""
        self._inside -= 1
        self._taken = False
        self._changed.set()

    async def _enter_alone(self) -> None:
        self._alone += 1
        try:
            while self._inside:
                await self._wait()
            self._taken = True
            self._inside += 1
        finally:
            self._alone -= 1
            self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


_SAME_FAILURES: Final = 5
"""Failures of the same kind in a row, with no success between them, that stop a batch."""


class ConsecutiveFailureLimit:
    """Count consecutive failures of the same kind; a success or another kind starts the count again."""

    def __init__(self) -> None:
        self._kind: type[Exception] | None = None
        self._count = 0

    def count_failure(self, error: Exception) -> str | None:
        """Count a failure; return why the batch should stop once the limit is reached, otherwise None."""
        self._count = self._count + 1 if type(error) is self._kind else 1
        self._kind = type(error)
        if self._count < _SAME_FAILURES:
            return None
        return f"{_SAME_FAILURES} requests in a row failed in the same way: {message_of(error)}"

    def reset(self) -> None:
        """Start counting again, after a success."""
        self._kind, self._count = None, 0
