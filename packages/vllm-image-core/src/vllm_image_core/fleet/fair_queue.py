"""Fair queue: share a fleet among users by start-time fair queueing, so that no batch keeps others waiting.

Each call gets a start tag on a virtual clock, and the waiting call with the smallest one is next. The clock
is the start tag of the call that was let in last. A user's next start tag is the finish tag of the call
before, which is its start tag plus its cost divided by the user's share; after a pause, it is the clock. So
users who keep calls waiting get the fleet in proportion to their shares, whatever the sizes of their calls,
and nobody saves up a claim while idle.

Source: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996; with several calls in
progress at once it is SFQ(D) of W. Jin, J. S. Chase, J. Kaur, "Interposed Proportional Sharing", SIGMETRICS
2004.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits for its turn."""

    cost: float
    turn: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False, kw_only=True)
class Flow:
    """The calls of one user.

    Attributes:
        name: The user's name.
        share: The user's weight against the others', above 0.
        served: Cost of the calls that were let in, in the callers' unit.
        in_progress: Number of calls in progress.
    """

    name: str
    share: float = 1.0
    served: float = 0.0
    in_progress: int = 0
    _start: float = 0.0
    _finish: float = 0.0
    _urgent: deque[_Call] = field(default_factory=deque[_Call])
    _low_priority: deque[_Call] = field(default_factory=deque[_Call])

    @property
    def waiting(self) -> int:
        """Number of calls that wait for their turn."""
        return len(self._urgent) + len(self._low_priority)

    @property
    def start(self) -> float:
        """The start tag of the call that is next."""
        return self._start

    @property
    def finish(self) -> float:
        """The finish tag of the call that was let in last."""
        return self._finish

    def add(self, call: _Call, clock: float, *, low_priority: bool) -> None:
        """Add a call; those of batches give way to the user's others."""
        if not self.waiting:
            self._start = max(clock, self._finish)
        (self._low_priority if low_priority else self._urgent).append(call)

    def discard(self, call: _Call) -> None:
        """Remove a call that nobody waits for any more, if it is still in the queue."""
        for calls in (self._urgent, self._low_priority):
            with suppress(ValueError):
                calls.remove(call)

    def next(self) -> _Call:
        """Let the next call in, and set the start tag of the one after it."""
        call = (self._urgent or self._low_priority).popleft()
        self._finish = self._start + call.cost / self.share
        self._start = self._finish
        self.served += call.cost
        self.in_progress += 1
        return call


class FairQueue:
    """Lets the calls of several users into a fleet in fair order.

    Args:
        capacity: Returns how many calls may be in progress at once; less than 1 counts as 1.

    Attributes:
        on_turn: Called with a user's name and how many seconds a call waited, when its turn has come.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self.on_turn: Callable[[str, float], object] | None = None
        self._capacity = capacity
        self._flows: dict[str, Flow] = {}
        self._clock = 0.0
        self._in_progress = 0

    def flow(self, name: str, *, share: float = 1.0) -> Flow:
        """Return the calls of a user, whose share is set the first time."""
        return self._flows.setdefault(name, Flow(name=name, share=share))

    @property
    def waiting(self) -> int:
        """Number of calls that wait for their turn."""
        return sum(flow.waiting for flow in self._flows.values())

    @property
    def in_progress(self) -> int:
        """Number of calls in progress."""
        return self._in_progress

    @asynccontextmanager
    async def turn(self, flow: Flow, cost: float, *, low_priority: bool) -> AsyncGenerator[None]:
        """Wait for the turn of a call, and make room for the next one when the block ends.

        Args:
            flow: The user's calls.
            cost: What the call costs, above 0, in the same unit for all users.
            low_priority: Whether it belongs to a batch, which gives way to the user's other calls.
        """
        call, arrived = _Call(cost), time.perf_counter()
        flow.add(call, self._clock, low_priority=low_priority)
        self._let_in()
        try:
            await call.turn.wait()
            if self.on_turn is not None:
                self.on_turn(flow.name, time.perf_counter() - arrived)
            yield
        finally:
            if call.turn.is_set():  # even if the wait was cancelled at that moment
                flow.in_progress -= 1
                self._in_progress -= 1
            else:
                flow.discard(call)
            self._let_in()

    def _let_in(self) -> None:
        while self._in_progress < max(1, self._capacity()):
            backlogged = [flow for flow in self._flows.values() if flow.waiting]
            if not backlogged:
                break
            flow = min(backlogged, key=lambda each: each.start)
            self._clock = max(self._clock, flow.start)
            self._in_progress += 1
            flow.next().turn.set()
        if not self._in_progress and not self.waiting:
            self._end_busy_period()

    def _end_busy_period(self) -> None:
        """Set the clock to the largest finish tag: when nobody has to wait, nobody is in anybody's debt."""
        self._clock = max((self._clock, *(flow.finish for flow in self._flows.values())))
