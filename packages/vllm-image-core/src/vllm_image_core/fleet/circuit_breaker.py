"""Circuit breaker: stop sending requests to a failing server, and let it back in on trial.

    closed ──fails──▶ open ──a probe finds it healthy──▶ trial ──one image──▶ closed
                        ▲                                  │
                        └─────────────fails────────────────┘

Each time a server fails again after it was let back in, it is left out for longer.
"""

from collections.abc import Callable
from typing import Final, Literal

CircuitState = Literal["closed", "open", "trial"]
"""closed: it gets requests; open: it gets none; trial: one at a time, until one of them is answered."""

PROBE_SECONDS: Final = 5.0
"""Minimum time between two health probes of a server that is left out."""

_FAILURES: Final = 3
"""Consecutive failures that open the circuit."""

_LONGEST_SECONDS: Final = 300.0

_BAD_REPLY_SECONDS: Final = 60.0
"""How long a server with wrong answers is first left out; its health is good, so a probe proves nothing."""

_BAD_REPLIES_FORGIVEN: Final = 0.1
"""How much of a wrong answer one right answer offsets; a server that is wrong half the time is left out."""


class CircuitBreaker:
    """The circuit breaker of one server. Times are seconds on a clock that never goes back.

    `on_change` gets the state before and after a change. A server is `in_doubt` if it gets no requests only
    because its health must be checked first.
    """

    def __init__(self, on_change: Callable[[CircuitState, CircuitState], object] | None = None) -> None:
        self._on_change = on_change
        self.state: CircuitState = "closed"
        self.in_doubt: bool = False
        self._failures = 0
        self._bad_replies = 0.0
        self._ejections = 0
        self._distrusted = False
        self._out_until = 0.0
        self._closed_at = 0.0
        self._probed_at = -PROBE_SECONDS

    def _change(self, state: CircuitState) -> None:
        before, self.state = self.state, state
        if before != state and self._on_change is not None:
            self._on_change(before, state)

    @property
    def is_open(self) -> bool:
        """Whether requests to the server are stopped."""
        return self.state == "open"

    def record_success(self, now: float) -> None:
        """Record a right answer; during a trial, it closes the circuit."""
        self._failures = 0
        self._bad_replies = max(0.0, self._bad_replies - _BAD_REPLIES_FORGIVEN)
        if self.state == "trial":
            self._change("closed")
            self._closed_at = now
        elif self._ejections and now - self._closed_at >= 2 * self._backoff(PROBE_SECONDS):
            self._ejections -= 1
            self._closed_at = now

    def record_failure(self, now: float, *, surely: bool = False) -> None:
        """Record a failure; `surely` if it proves that the server cannot work."""
        self._failures += 1
        if surely or self.state == "trial" or self._failures >= _FAILURES:
            self._open(now, PROBE_SECONDS)

    def record_bad_reply(self, now: float) -> None:
        """Record an answer that is not an image, or not the requested one."""
        self._bad_replies += 1
        if self.state == "trial" or self._bad_replies >= _FAILURES:
            self._bad_replies = 0.0
            self._open(now, _BAD_REPLY_SECONDS)
            self._distrusted = True

    def mark_doubtful(self) -> None:
        """Send it no requests until its health has been checked, which may be done now."""
        if not self.is_open:
            self._change("open")
            self.in_doubt = True

    def may_probe(self, now: float, *, last_hope: bool = False) -> bool:
        """Return whether the server's health may be probed, to let it back in.

        If it is the `last_hope`, it is probed before its time is over.
        """
        if not self.is_open or now < self._probed_at + PROBE_SECONDS:
            return self.in_doubt
        return now >= self._out_until or (last_hope and not self._distrusted)

    @property
    def next_probe(self) -> float:
        """When it may be probed next."""
        return max(self._out_until, self._probed_at + PROBE_SECONDS)

    def record_probe(self, now: float) -> None:
        """Record that it is being probed now."""
        self._probed_at = now

    def half_open(self) -> None:
        """Let a healthy server back in on trial."""
        if self.is_open:
            self._change("trial")
            self.in_doubt = False

    def record_ill_health(self, now: float) -> None:
        """Record that it is not healthy; a server that was in doubt is now left out."""
        if self.in_doubt:
            self._open(now, PROBE_SECONDS)

    def _open(self, now: float, seconds: float) -> None:
        if self.is_open and not self.in_doubt:
            return
        self._change("open")
        self._failures = 0
        self._distrusted = self.in_doubt = False
        self._out_until = now + self._backoff(seconds)
        self._probed_at = now
        self._ejections += 1

    def _backoff(self, seconds: float) -> float:
        return min(seconds * 2.0**self._ejections, _LONGEST_SECONDS)
