"""A pace: how fast one server does its work, and when it will have done what it has."""

from typing import Final

__all__ = ["Pace"]

_MEMORY: Final = 0.9
"""What is left of an observation after the next one: some ten of them count."""

_EXPECTED: Final = 2.0
"""What was learned of a server before counts as so many units of work."""


class Pace:
    """The pace of one server, in seconds for a unit of work. Times are on a clock that never goes back."""

    def __init__(self) -> None:
        self._work = 0.0
        self._busy = 0.0
        self._outstanding = 0.0
        self._under_way = 0
        self._since = 0.0
        self._until = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds for a unit of work while it is busy, over all that it does at once; None at first."""
        return self._busy / self._work if self._work > 0 else None

    def expect(self, seconds: float) -> None:
        """Take it as known how many seconds a unit of work takes, until its own work shows it."""
        self._work, self._busy = _EXPECTED, _EXPECTED * seconds

    def began(self, now: float, work: float, usual: float) -> None:
        """Take in that some work was sent.

        Args:
            now: The time.
            work: How much.
            usual: Seconds for a unit of work on other servers, as long as this one's are not known.
        """
        if self._under_way == 0:
            self._since = now
        self._under_way += 1
        self._outstanding += work
        self._until = max(self._until, now) + work * (self.seconds or usual)

    def ended(self, now: float, work: float, usual: float, *, done: bool) -> None:
        """Take in that some work has ended; `done` when it was answered, so that its time tells something."""
        self._under_way -= 1
        self._outstanding = max(0.0, self._outstanding - work) if self._under_way else 0.0
        if done:
            self._work = _MEMORY * self._work + work
            self._busy = _MEMORY * self._busy + max(0.0, now - self._since)
        self._since = now
        self._until = now + self._outstanding * (self.seconds or usual)

    def seconds_left(self, now: float) -> float:
        """When it will have done what it has, in seconds from now.

        What is overdue is expected to take as long again as it is overdue.
        """
        return abs(self._until - now) if self._under_way else 0.0
