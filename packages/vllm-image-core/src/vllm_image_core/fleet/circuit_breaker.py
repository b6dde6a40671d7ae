"""A circuit: whether a server is given work, after what it has done with the last of it.

    closed ──fails──▶ open ──a probe finds it well──▶ trial ──one picture──▶ closed
                        ▲                                │
                        └────────────fails───────────────┘

A server that keeps failing after it was let in again is left out for longer each time.
"""

from collections.abc import Callable
from typing import Final, Literal

__all__ = ["PROBE_SECONDS", "CircuitBreaker", "CircuitState"]

CircuitState = Literal["closed", "open", "trial"]
"""closed: it gets work; open: none; trial: one request at a time, until one of them is answered."""

PROBE_SECONDS: Final = 5.0
"""A server that is out is asked for its health at most once in so many seconds."""

_FAILURES: Final = 3
"""So many failures in a row put a server out."""

_LONGEST_SECONDS: Final = 300.0

_BAD_REPLY_SECONDS: Final = 60.0
"""How long a server that answers rubbish is left out at first: its health is good, and tells nothing."""

_BAD_REPLIES_FORGIVEN: Final = 0.1
"""How much of one wrong answer a right one makes up for: half of them being wrong is too much."""


class CircuitBreaker:
    """The circuit breaker of one server. Times are seconds on a clock that never goes back.

    Args:
        on_change: Called with the state before and after a change.

    Attributes:
        state: Whether it gets work.
        in_doubt: Whether it gets none only because it has to be asked for its health first.
    """

    def __init__(self, on_change: Callable[[CircuitState, CircuitState], object] | None = None) -> None:
        self._on_change = on_change
        self._state: CircuitState = "closed"
        self.in_doubt: bool = False
        self._failures = 0
        self._bad_replies = 0.0
        self._ejections = 0
        self._distrusted = False
        self._out_until = 0.0
        self._closed_at = 0.0
        self._probed_at = -PROBE_SECONDS

    @property
    def state(self) -> CircuitState:
        """Whether the server gets work."""
        return self._state

    def _change(self, state: CircuitState) -> None:
        before, self._state = self._state, state
        if before != state and self._on_change is not None:
            self._on_change(before, state)

    @property
    def is_open(self) -> bool:
        """Whether the server gets no work."""
        return self.state == "open"

    def record_success(self, now: float) -> None:
        """Take in a right answer; after a trial the server is in again."""
        self._failures = 0
        self._bad_replies = max(0.0, self._bad_replies - _BAD_REPLIES_FORGIVEN)
        if self.state == "trial":
            self._change("closed")
            self._closed_at = now
        elif self._ejections and now - self._closed_at >= 2 * self._penalty(PROBE_SECONDS):
            self._ejections -= 1
            self._closed_at = now

    def record_failure(self, now: float, *, surely: bool = False) -> None:
        """Take in a failure; `surely` when it leaves no doubt that the server cannot work."""
        self._failures += 1
        if surely or self.state == "trial" or self._failures >= _FAILURES:
            self._open(now, PROBE_SECONDS)

    def record_bad_reply(self, now: float) -> None:
        """Take in an answer that is no picture, or another one than was asked for."""
        self._bad_replies += 1
        if self.state == "trial" or self._bad_replies >= _FAILURES:
            self._bad_replies = 0.0
            self._open(now, _BAD_REPLY_SECONDS)
            self._distrusted = True

    def doubt(self) -> None:
        """Give it no work until it has been asked for its health, which may be done now."""
        if not self.is_open:
            self._change("open")
            self.in_doubt = True

    def may_probe(self, now: float, *, last_hope: bool = False) -> bool:
        """Whether the server may be asked for its health, to be let in again.

        Args:
            now: The time.
            last_hope: No server is left: one that is out for failing is asked before its time is over.
        """
        if not self.is_open or now < self._probed_at + PROBE_SECONDS:
            return self.in_doubt
        return now >= self._out_until or (last_hope and not self._distrusted)

    @property
    def next_probe(self) -> float:
        """When it may be asked next."""
        return max(self._out_until, self._probed_at + PROBE_SECONDS)

    def probing(self, now: float) -> None:
        """Write down that it is asked now."""
        self._probed_at = now

    def half_open(self) -> None:
        """Let a server in again whose health is good, for a trial."""
        if self.is_open:
            self._change("trial")
            self.in_doubt = False

    def record_ill_health(self, now: float) -> None:
        """Take in that its health is not good; one that was in doubt is out now."""
        if self.in_doubt:
            self._open(now, PROBE_SECONDS)

    def _open(self, now: float, seconds: float) -> None:
        if self.is_open and not self.in_doubt:
            return
        self._change("open")
        self._failures = 0
        self._distrusted = self.in_doubt = False
        self._out_until = now + self._penalty(seconds)
        self._probed_at = now
        self._ejections += 1

    def _penalty(self, seconds: float) -> float:
        return min(seconds * 2.0**self._ejections, _LONGEST_SECONDS)
