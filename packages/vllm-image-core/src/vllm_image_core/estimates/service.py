"""The service time of a picture: what its server worked on it, without what it waited for its turn.

A server makes one picture at a time unless it was started otherwise, and queues the rest. What it tells
of a picture (`stage_0_gen_ms`) holds the waiting too, and so does the time that a client sees. So a picture's
service begins when it was sent, or when the one before it ended, whichever was later.
"""

from bisect import bisect_left, insort
from typing import Final

__all__ = ["ServiceClock"]

_KEPT: Final = 64
_TOGETHER: Final = 0.05
"""A picture whose own time is below this share of its due one was made together with the one before it."""


class ServiceClock:
    """When the pictures of one server ended, on one clock of seconds.

    Args:
        parallelism: How many the server makes at the same time, at least 1.
    """

    def __init__(self, parallelism: int = 1) -> None:
        self.parallelism = parallelism
        self._ends: list[float] = []

    def finished(self, ended: float, elapsed: float, *, generation: float | None = None) -> float | None:
        """The service time of a picture that has ended; None where it cannot be told.

        Args:
            ended: When, in seconds. Pictures may be told of a little out of order.
            elapsed: Seconds from sending to the answer.
            generation: Seconds as the server told them, its queue included.
        """
        took = elapsed if generation is None or not 0 < generation < elapsed else generation
        sent = ended - took
        place = bisect_left(self._ends, ended)
        before = self._ends[max(0, place - self.parallelism)] if place >= self.parallelism else sent
        meanwhile = place - bisect_left(self._ends, sent)
        insort(self._ends, ended)
        del self._ends[:-_KEPT]
        service = ended - max(sent, before)
        # Several that were made together end together, and the time between their ends is that of none.
        together = meanwhile and service < _TOGETHER * took * self.parallelism / (meanwhile + 1)
        return None if together or service <= 0 else service

    @property
    def last_end(self) -> float | None:
        """When the last picture ended; None before the first."""
        return self._ends[-1] if self._ends else None
