"""Patience: what a batch does while its server, its folder or its journal is away, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = [
    "ConsecutiveFailureLimit",
    "OutageGate",
    "SharedExclusiveGate",
    "StillWaiting",
]


_LONGEST_ASKED_SECONDS: Final = 120.0
"""A server that asks to be left alone for longer is tried again after this."""

_SHORTEST_SECONDS: Final = 0.01


class StillWaiting(Exception):
    """Nothing is sent any more; the request stays among those that wait."""


class OutageGate:
    """One thing that everybody needs: all pass while it is well, and nobody after it has failed.

    Then it is probed, at once and every `interval_seconds`, and when the probe is good, one is let through as
    a trial: where that goes well, all are.

    Args:
        probe: Whether it is well again.
        interval_seconds: The least time between two probes.
        patience_seconds: How long it may be away.
        told: Called with the reason when it is found to be away, and with None when it is back.
        given_up: Called with the reason when it has been away for too long.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[bool]],
        *,
        interval_seconds: float,
        outage_seconds: float,
        told: Callable[[str | None], None],
        given_up: Callable[[str], None],
    ) -> None:
        self._probe = probe
        self._interval = interval_seconds
        self._outage_gate = outage_seconds
        self._told = told
        self._given_up = given_up
        self._reason: str | None = None
        self._since = 0.0
        self._not_before = 0.0
        self._trial = False
        self._trying = False
        self._closed = False
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_well(self) -> bool:
        """Whether all may pass."""
        return self._reason is None and not self._closed

    @property
    def is_away(self) -> bool:
        """Whether it has failed, and nobody tries it now."""
        return self._reason is not None and not self._trying

    async def enter(self) -> None:
        """Wait until one may pass.

        Raises:
            LeftWaiting: Nobody will any more.
        """
        while self._reason is not None or self._closed:
            if self._closed:
                raise StillWaiting
            if self._trial:
                self._trial, self._trying = False, True
                return
            self._changed.clear()
            await self._changed.wait()

    async def well_again(self) -> bool:
        """Wait until it is back; False where nobody waits for it any longer. The probe alone decides."""
        while self._reason is not None and not self._closed:
            if self._trial:
                self.record_success()
                break
            self._changed.clear()
            await self._changed.wait()
        return not self._closed

    def record_failure(self, reason: str, *, wait_seconds: float = 0.0) -> None:
        """It is away; `wait_seconds` is how long it asked to be left alone."""
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + min(wait_seconds, _LONGEST_ASKED_SECONDS))
        self._trial = self._trying = False
        if self._reason is None:
            self._since = now
            self._reason = reason
            self._told(reason)
        if self._watching is None and not self._closed:
            self._watching = asyncio.create_task(self._watch(), name="patience")

    def record_success(self) -> None:
        """It is well: somebody has passed and come back."""
        if self._reason is None:
            return
        self._reason = None
        self._trial = self._trying = False
        self._told(None)
        self._changed.set()

    def close(self) -> None:
        """Let nobody pass any more."""
        self._closed = True
        self._changed.set()
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._reason is not None:
                now, end = loop.time(), self._since + self._outage_gate
                if now >= end and not self._trying:
                    self._given_up(self._reason)
                    return
                if now >= self._not_before and not (self._trial or self._trying):
                    self._not_before = now + self._interval
                    if await self._probe():
                        self._trial = True
                        self._changed.set()
                await asyncio.sleep(max(_SHORTEST_SECONDS, min(self._not_before, end) - loop.time()))
        finally:
            self._watching = None


class SharedExclusiveGate:
    """Lets many in at once; one who has to be alone waits until all are out, and is waited for."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = 0
        self._taken = False
        self._changed = asyncio.Event()

    async def enter(self, *, alone: bool) -> None:
        """Come in, with others or alone; whoever came in has to `leave`."""
        if alone:
            await self._enter_alone()
            return
        while self._alone or self._taken:
            await self._wait()
        self._inside += 1

    def leave(self) -> None:
        """Go out."""
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
"""So many failures of one kind, with no success between them, stop a batch."""


class ConsecutiveFailureLimit:
    """Counts failures until one is of another kind, or something succeeds."""

    def __init__(self) -> None:
        self._kind: type[Exception] | None = None
        self._count = 0

    def count_failure(self, error: Exception) -> str | None:
        """Count a failure; where it was one too many, what is to be told: the others would fail, too."""
        self._count = self._count + 1 if type(error) is self._kind else 1
        self._kind = type(error)
        if self._count < _SAME_FAILURES:
            return None
        return f"{_SAME_FAILURES} requests in a row have failed in the same way: {error}"

    def reset(self) -> None:
        """Begin anew: something has succeeded."""
        self._kind, self._count = None, 0
