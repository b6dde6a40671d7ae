"""Outlook: work out when each server of a fleet will be free, and when all of them together will be done."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from vllm_image_core.fleet.server import FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool

_NOT_SOON_SECONDS: Final = 3_600.0
"""Assumed wait of a server under suspicion, in seconds."""


@dataclass(slots=True)
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
        """Return in how many seconds it would finish a call."""
        return self.wait + work * self.alone


class Outlooks:
    """What to expect of each server that gets requests, at one moment. Costs grow linearly with the servers.

    Args:
        pool: The servers.
        now: The moment.
    """

    def __init__(self, pool: ServerPool, now: float) -> None:
        self._pool = pool
        self._now = now
        self._of = {member: self._read(member) for member in pool.members if member.is_in}
        self._serving: dict[str | None, list[Server]] = {}
        self._sorted: dict[tuple[str | None, float], _ByWait] = {}
        self._soonest: dict[tuple[str | None, float], float] = {}

    def __getitem__(self, member: Server) -> ServerOutlook:
        return self._of[member]

    def __iter__(self) -> Iterator[Server]:
        return iter(self._of)

    def update(self, member: Server) -> None:
        """Look at a server again, because it has got a call."""
        self._of[member] = self._read(member)
        self._sorted.clear()
        self._soonest.clear()

    def others_end(self, member: Server, work: float) -> float:
        """Return in how many seconds the other servers with its model would have done extra work together.

        Infinity if there are none.
        """
        key = (member.model, work)
        if (servers := self._sorted.get(key)) is None:
            found = {each: self._of[each] for each in self._with_model(member.model)}
            servers = self._sorted[key] = _ByWait(found, work)
        return servers.end_without(member)

    def soonest_end(self, call: FleetCall) -> float:
        """Return in how many seconds the first of all servers would finish a call; infinity if none may."""
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

    def _with_model(self, model: str | None) -> list[Server]:
        if (found := self._serving.get(model)) is None:
            found = self._serving[model] = [each for each in self._of if self._pool.serves(each, model)]
        return found

    def _read(self, member: Server) -> ServerOutlook:
        seconds_per_work = member.service_rate.seconds or self._usual
        parallel = member.limit.parallel or 1
        busy = member.under_way
        wait = 0.0
        if busy >= parallel:
            wait = member.service_rate.seconds_left(self._now) * (busy - parallel + 1) / busy
        wait = max(wait, member.paused_until - self._now)
        if member.is_suspect:
            wait = _NOT_SOON_SECONDS
        return ServerOutlook(wait, seconds_per_work, seconds_per_work * parallel)


class _ByWait:
    """Servers in the order in which they will be free, and when they would have done some work together.

    Those that are free before that moment share the work. Without one of them, the moment is a little later,
    so that only the servers that are free in between have to be looked at.
    """

    def __init__(self, servers: dict[Server, ServerOutlook], work: float) -> None:
        order = sorted(servers, key=lambda member: servers[member].wait)
        self._places = {member: place for place, member in enumerate(order)}
        self._waits = [servers[member].wait for member in order]
        self._speeds = [1 / servers[member].seconds_per_work for member in order]
        self._rates = list(accumulate(self._speeds, initial=0.0))
        self._busy = list(accumulate(map(float.__mul__, self._waits, self._speeds), initial=0.0))
        self._work = work
        self._sharing, self._end = self._extend(0, math.inf, 0.0, 0.0)

    def end_without(self, member: Server) -> float:
        """Return in how many seconds the others would have done the work; infinity without others."""
        place = self._places.get(member, self._sharing)
        if place >= self._sharing:
            return self._end
        rate = self._speeds[place]
        busy = self._waits[place] * rate
        end = self._end_of(self._sharing, rate, busy) if self._sharing > 1 else math.inf
        return self._extend(self._sharing, end, rate, busy)[1]

    def _extend(self, sharing: int, end: float, rate: float, busy: float) -> tuple[int, float]:
        """Let further servers share the work while they are free before it is done."""
        while sharing < len(self._waits) and self._waits[sharing] < end:
            sharing += 1
            end = self._end_of(sharing, rate, busy)
        return sharing, end

    def _end_of(self, sharing: int, rate: float, busy: float) -> float:
        """Return when the first servers are done, without one that has this rate and is busy for so long."""
        return (self._work + self._busy[sharing] - busy) / (self._rates[sharing] - rate)
