"""Outlook: work out when each server of a fleet will be free, and when all of them together will be done."""

import functools
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from vllm_image_core.fleet.server import FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool

_NOT_SOON_SECONDS: Final = 3_600.0
"""Assumed wait of a server under suspicion, in seconds."""

_ROUNDING: Final = 1 + 1e-9
"""A bound is raised by this factor, so that rounding excludes nobody."""


@dataclass(slots=True, eq=False)
class ServerOutlook:
    """When a server is expected to be free, and how fast it will be.

    Attributes:
        wait: Seconds until it has finished its current work.
        seconds_per_work: Seconds per unit of work, over all calls it runs at once.
        alone: Seconds per unit of work of a single call.
    """

    wait: float
    seconds_per_work: float
    alone: float

    def ends(self, work: float) -> float:
        """Return how many seconds it would take until a call is finished."""
        return self.wait + work * self.alone


class Outlooks:
    """What to expect of each server that gets requests, at one moment, at a cost linear in their number.

    Args:
        pool: The servers.
        now: The moment.
    """

    def __init__(self, pool: ServerPool, now: float) -> None:
        self._pool = pool
        self._now = now
        self._of = {member: self._read(member) for member in pool.members if member.is_in}
        self._serving: dict[str | None, list[Server]] = {}
        self._sharing: dict[str | None, _Sharing] = {}
        self._soonest: dict[tuple[str | None, float], float] = {}

    def __getitem__(self, member: Server) -> ServerOutlook:
        return self._of[member]

    def __iter__(self) -> Iterator[Server]:
        return iter(self._of)

    def update(self, member: Server) -> None:
        """Look at a server again, because it was given a call."""
        self._of[member] = self._read(member)
        self._sharing.clear()
        self._soonest.clear()

    def others_end(self, member: Server, work: float) -> float:
        """Return how many seconds the other servers with its model would need together for extra work.

        Infinity if there are none.
        """
        return self._sharing_with(member, work).end_without(self._of[member])

    def may_help(self, member: Server, work: float, least: float) -> bool:
        """Return whether a server might do something of some work before the others have done all of it.

        It might not if even the smallest call, of `least` work, would end later, and if another server is
        better for any call. This is much faster to find out than which call it would get.
        """
        return self._sharing_with(member, work).may_help(self._of[member], least)

    def soonest_end(self, call: FleetCall) -> float:
        """Return how many seconds the fastest server would take to finish a call; infinity if none may."""
        if call.avoided:
            return self._find_soonest(call)
        key = (call.model, call.work)
        if (end := self._soonest.get(key)) is None:
            end = self._soonest[key] = self._find_soonest(call)
        return end

    @functools.cached_property
    def _usual(self) -> float:
        return self._pool.usual

    def _find_soonest(self, call: FleetCall) -> float:
        able = (each for each in self._with_model(call.model) if each not in call.avoided)
        return min((self._of[each].ends(call.work) for each in able), default=math.inf)

    def _sharing_with(self, member: Server, work: float) -> "_Sharing":
        """Return the servers with the same model; `work` is the same until a server is updated."""
        if (found := self._sharing.get(member.model)) is None:
            servers = [self._of[each] for each in self._with_model(member.model)]
            found = self._sharing[member.model] = _Sharing(servers, work)
        return found

    def _with_model(self, model: str | None) -> list[Server]:
        if (found := self._serving.get(model)) is None:
            found = self._serving[model] = [each for each in self._of if self._pool.serves(each, model)]
        return found

    def _read(self, member: Server) -> ServerOutlook:
        seconds_per_work = member.service_rate.seconds or self._usual
        parallel = member.limit.parallel or 1
        busy = member.limit.in_progress
        wait = 0.0
        if busy >= parallel:
            wait = member.service_rate.seconds_left(self._now) * (busy - parallel + 1) / busy
        if member.paused_until > self._now + wait:
            wait = member.paused_until - self._now
        if member.is_suspect:
            wait = _NOT_SOON_SECONDS
        return ServerOutlook(wait, seconds_per_work, seconds_per_work * parallel)


class _Sharing:
    """Servers that do some work together, each from the moment on at which it is free.

    Those that are free before the end take part. Without one of them, the end is a little later, so that only
    the servers that are free in between have to be looked at.
    """

    def __init__(self, servers: list[ServerOutlook], work: float) -> None:
        self._order = sorted(servers, key=lambda each: each.wait)
        self._waits = [each.wait for each in self._order]
        speeds = [1 / each.seconds_per_work for each in self._order]
        self._rates = list(accumulate(speeds, initial=0.0))
        self._busy = list(accumulate(map(float.__mul__, self._waits, speeds), initial=0.0))
        self._work = work
        count = len(servers)
        # Each server that is free before the end brings it closer, and no other one does.
        self._count = (
            bisect_left(
                range(1, count),
                True,  # noqa: FBT003 - what is looked for
                key=lambda number: self._waits[number] >= self._end_of(number, 0.0, 0.0),
            )
            + 1
        )
        self._end = self._end_of(self._count, 0.0, 0.0)
        fastest = max(speeds)
        left = self._rates[self._count] - fastest
        self._latest = self._end + fastest * (self._end - self._waits[0]) / left if left > 0 else math.inf
        self._latest *= _ROUNDING

    def end_without(self, one: ServerOutlook) -> float:
        """Return how many seconds the others would need for the work; infinity if there are no others."""
        if one.wait >= self._end:
            return self._end
        rate = 1 / one.seconds_per_work
        busy = one.wait * rate
        count = self._count
        end = self._end_of(count, rate, busy) if count > 1 else math.inf
        while count < len(self._waits) and self._waits[count] < end:
            count += 1
            end = self._end_of(count, rate, busy)
        return end

    def may_help(self, one: ServerOutlook, least: float) -> bool:
        """Return whether one could end a call before the others have done the work, or before any other."""
        return one.ends(least) <= self._latest or one in self._best

    @functools.cached_property
    def _best(self) -> set[ServerOutlook]:
        """The servers than which no other one is free earlier and faster."""
        best: set[ServerOutlook] = set()
        alone = math.inf
        for one in self._order:
            if one.alone <= alone:
                best.add(one)
                alone = one.alone
        return best

    def _end_of(self, count: int, rate: float, busy: float) -> float:
        """Return when the first servers are done, without one that has this rate and is busy for so long."""
        return (self._work + self._busy[count] - busy) / (self._rates[count] - rate)
