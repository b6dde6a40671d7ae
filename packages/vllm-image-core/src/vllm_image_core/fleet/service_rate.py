"""Service rate: measure how many seconds a server needs for a unit of work."""

from typing import Final

_MEMORY: Final = 0.9
"""Weight that an observation keeps after the next one; about ten of them count."""

_EXPECTED: Final = 2.0
"""Weight of a stored service rate, in units of work."""


class ServiceRate:
    """Measures one server's seconds per unit of work. Times are on a clock that never goes back."""

    def __init__(self) -> None:
        self._work = 0.0
        self._busy = 0.0
        self._outstanding = 0.0
        self._in_progress = 0
        self._since = 0.0
        self._until = 0.0

    @property
    def seconds(self) -> float | None:
        """Busy seconds per unit of work, over all requests it runs at once; None before the first one."""
        return self._busy / self._work if self._work > 0 else None

    def expect(self, seconds: float) -> None:
        """Set the expected seconds per unit of work, until its own work shows them."""
        self._work, self._busy = _EXPECTED, _EXPECTED * seconds

    def record_sent(self, now: float, work: float, usual: float) -> None:
        """Record that work was sent; until this server's speed is known, the others' `usual` one counts."""
        if self._in_progress == 0:
            self._since = now
        self._in_progress += 1
        self._outstanding += work
        self._until = max(self._until, now) + work * (self.seconds or usual)

    def record_ended(self, now: float, work: float, usual: float, *, done: bool) -> None:
        """Record that work has ended; `done` if it was answered, so that its time counts."""
        self._in_progress -= 1
        self._outstanding = max(0.0, self._outstanding - work) if self._in_progress else 0.0
        if done:
            self._work = _MEMORY * self._work + work
            self._busy = _MEMORY * self._busy + max(0.0, now - self._since)
        self._since = now
        self._until = now + self._outstanding * (self.seconds or usual)

    def seconds_left(self, now: float) -> float:
        """Return how many seconds it will need to finish its work.

        Overdue work is expected to take as long again as it is overdue.
        """
        return abs(self._until - now) if self._in_progress else 0.0
