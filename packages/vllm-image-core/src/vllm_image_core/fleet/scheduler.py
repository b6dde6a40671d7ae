"""Dispatch: the calls that wait, each given to the server that is best for it.

They wait here and not in the servers' queues, so that a call is bound to a server as late as can be.
"""

import asyncio
import contextlib
import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.health_checks import HealthChecks
from vllm_image_core.fleet.server import FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.imaging.size import PIXELS_PER_MEGAPIXEL

__all__ = [
    "CallQueue",
    "Scheduler",
    "ServerOutlook",
    "others_end",
    "rough_cost",
]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerOutlook:
    """What is to be expected of a server.

    Attributes:
        wait: Seconds until it has done what it has.
        pace: Seconds for a unit of work over all that it does at once.
        alone: Seconds for a unit of work of one call.
    """

    wait: float
    pace: float
    alone: float

    def ends(self, work: float) -> float:
        """When it would have done a call, in seconds from now."""
        return self.wait + work * self.alone


def others_end(others: Sequence[ServerOutlook], work: float) -> float:
    """When these servers would have done some work together, beside what they have; infinity without any."""
    end, rate, busy = float("inf"), 0.0, 0.0
    for other in sorted(others, key=lambda outlook: outlook.wait):
        if other.wait >= end:
            break
        rate += 1 / other.pace
        busy += other.wait / other.pace
        end = (work + busy) / rate
    return end


class CallQueue:
    """The calls that wait: those that somebody waits for by arrival, those of batches by their cost."""

    def __init__(self) -> None:
        self._urgent: deque[FleetCall] = deque()
        self._low_priority: list[FleetCall] = []
        self._arrived: deque[FleetCall] = deque()
        self._given_away = 0
        self.work: float = 0.0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._low_priority)

    def __iter__(self) -> Iterator[FleetCall]:
        yield from self._urgent
        yield from self._low_priority

    def add(self, call: FleetCall) -> None:
        """Let a call wait."""
        call.number = self._given_away
        self.work += call.work
        if call.first:
            self._urgent.appendleft(call)
        elif call.low_priority:
            insort(self._low_priority, call, key=_work)
            self._arrived.append(call)
        else:
            self._urgent.append(call)

    def remove(self, call: FleetCall) -> None:
        """Take a call out, whether it is given away or given up."""
        if call.low_priority and not call.first:
            start = bisect_left(self._low_priority, call.work, key=_work)
            del self._low_priority[self._low_priority.index(call, start)]
            self._arrived.remove(call)
        else:
            self._urgent.remove(call)
        self.work = self.work - call.work if len(self) else 0.0

    def best(
        self,
        longest: float,
        fits: Callable[[FleetCall], bool],
        sooner: Callable[[FleetCall], bool],
        *,
        untried: bool = False,
    ) -> FleetCall | None:
        """The call that a server takes next; None when it is better left free.

        Args:
            longest: The most work that it would have done by the time that the others are done.
            fits: Whether it can do a call.
            sooner: Whether it would do a call sooner than any other server.
            untried: Whether nobody knows yet how fast it is.
        """
        first = next((call for call in self._urgent if fits(call)), None)
        if first is not None and sooner(first):
            return first
        oldest = self._arrived[0] if self._arrived else None
        if oldest is not None and self._is_overdue(oldest) and oldest.work <= longest and fits(oldest):
            return oldest
        if untried:
            chosen = next((call for call in self._low_priority if fits(call)), None)
            return chosen if chosen and (chosen.work <= longest or sooner(chosen)) else None
        position = bisect_right(self._low_priority, longest, key=_work)
        chosen = next((call for call in reversed(self._low_priority[:position]) if fits(call)), None)
        if chosen is not None:
            return chosen
        too_long = next((call for call in self._low_priority[position:] if fits(call)), None)
        return too_long if too_long is not None and sooner(too_long) else None

    def count_assigned(self) -> None:
        """Count a call that was given to a server."""
        self._given_away += 1

    def _is_overdue(self, call: FleetCall) -> bool:
        """Whether too many calls that came later, and cost more, have gone before this one."""
        return self._given_away - call.number > max(64, 4 * len(self._low_priority))


def _work(call: FleetCall) -> float:
    return call.work


def rough_cost(request: ServerRequest) -> float:
    """Steps times what one takes, in proportion; a step's time grows a little faster than its pixels.

    The shape, 0.2 + MP + 0.2 MP², is that of the large diffusion transformers' operations.
    """
    width, _, height = (request.size or "1024x1024").partition("x")
    megapixels = int(width) * int(height) / PIXELS_PER_MEGAPIXEL
    return (request.num_inference_steps or 1) * (0.2 + megapixels + 0.2 * megapixels**2)


_NOT_SOON_SECONDS: Final = 3_600.0
"""When a server is expected to take a fresh call that has to be found not guilty first."""

_MOST_WAITING: Final = 256
"""No more calls of a batch are asked for than so many beside those that are sent."""


class Scheduler:
    """Gives calls away as long as a server is better taken than left free.

    Args:
        pool: The servers.
        health_checks: Asks them.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, pool: ServerPool, health_checks: HealthChecks, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._health_checks = health_checks
        self._clock = clock
        self._queue = CallQueue()
        self._turns: dict[FleetCall, asyncio.Future[None]] = {}
        self._giving: asyncio.Handle | None = None

    @property
    def window(self) -> int:
        """How many calls of a batch should be open now, at least 1: what is sent, and a few that wait."""
        usable = [member for member in self._pool.members if member.is_in or not member.asked]
        limits = sum(1 if each.circuit.state == "trial" else each.limit.value for each in usable)
        return max(1, limits + self._useful_waiting(usable))

    def begin(self) -> None:
        """There are calls from now on."""
        self._giving = None  # that of an event loop that was closed will not come

    async def turn(self, call: FleetCall) -> Server:
        """Wait until a server has room for a call, and nothing better to do."""
        if not any(self._pool.may_serve(member, call) for member in self._pool.members):
            await self._health_checks.revive()
            if not any(self._pool.may_serve(member, call) for member in self._pool.members):
                raise self._pool.refusal(call)
        call.member = None
        loop = asyncio.get_running_loop()
        self._queue.add(call)
        self._turns[call] = turn = loop.create_future()
        if self._giving is None:
            self._giving = loop.call_soon(self.give_way)  # calls that come together are given away together
        try:
            await turn
        except BaseException:  # cancelled, too: who waits no longer must not be given a turn
            self._withdraw(call)
            raise
        finally:
            del self._turns[call]
        if call.member is None:
            raise RuntimeError("a call was told its turn and not its server")
        return call.member

    def give_way(self) -> None:
        """Give calls away as long as a server is better taken than left free."""
        self._giving = None
        now = self._clock()
        if len(self._queue) and any(member.has_room(now) for member in self._pool.members):
            self._give_all(now)
        self._health_checks.keep(now, waiting=bool(len(self._queue)))

    def lose(self) -> None:
        """Let calls go that no server is left for, and give the others away."""
        for call in list(self._queue):
            turn = self._turns.get(call)
            left = any(self._pool.may_serve(member, call) for member in self._pool.members)
            if not left and turn is not None and not turn.done():
                self._queue.remove(call)
                turn.set_exception(self._pool.refusal(call))
        self.give_way()

    def _withdraw(self, call: FleetCall) -> None:
        if call.member is None:
            with contextlib.suppress(ValueError):  # it was told that no server is left for it
                self._queue.remove(call)
        else:
            call.member.record_abandoned(call, self._clock(), self._pool.usual)
        self.give_way()

    def _give_all(self, now: float) -> None:
        self._pool.recall_paces()
        usual = self._pool.usual
        outlooks = {member: _outlook(member, now, usual) for member in self._pool.members if member.is_in}
        reserved = self._reserve(outlooks, now, usual)
        while len(self._queue):
            mean = self._queue.work / len(self._queue)
            free = [member for member in outlooks if member.has_room(now) and member not in reserved]
            free.sort(key=lambda member: outlooks[member].ends(mean))
            chosen = next(((call, each) for each in free if (call := self._choice(each, outlooks))), None)
            if chosen is None:
                return
            call, member = chosen
            self._give(call, member, now, usual)
            outlooks[member] = _outlook(member, now, usual)

    def _reserve(self, outlooks: dict[Server, ServerOutlook], now: float, usual: float) -> set[Server]:
        """Keep a server free for each call that must be alone there, and give it away where one is free."""
        reserved: set[Server] = set()
        for call in [call for call in self._queue if call.alone]:
            able = [
                member
                for member in outlooks
                if member not in reserved and self._pool.can_serve(member, call) and member.may_hold(call)
            ]
            if not able:
                continue
            member = min(able, key=lambda each: each.under_way)
            reserved.add(member)
            if not member.under_way and member.has_room(now):
                self._give(call, member, now, usual)
                outlooks[member] = _outlook(member, now, usual)
        return reserved

    def _choice(self, member: Server, outlooks: dict[Server, ServerOutlook]) -> FleetCall | None:
        mine = outlooks[member]
        others = [
            outlook
            for each, outlook in outlooks.items()
            if each is not member and self._pool.serves(each, member.model)
        ]
        end = others_end(others, self._queue.work)
        longest = (end - mine.wait) / mine.alone

        def sooner(call: FleetCall) -> bool:
            return mine.ends(call.work) <= min(
                (outlooks[each].ends(call.work) for each in outlooks if self._pool.can_serve(each, call)),
                default=math.inf,
            )

        return self._queue.best(
            longest,
            lambda call: not call.alone and member.may_take(call) and self._pool.serves(member, call.model),
            sooner,
            untried=member.pace.seconds is None,
        )

    def _give(self, call: FleetCall, member: Server, now: float, usual: float) -> None:
        self._queue.remove(call)
        self._queue.count_assigned()
        member.record_sent(call, now, usual)
        _logger.debug("%s: sent to %s; %d still wait", call.label, member.url, len(self._queue))
        self._health_checks.ask_how_many(member)
        turn = self._turns.get(call)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _useful_waiting(self, usable: Sequence[Server]) -> int:
        """Return how many calls the others do while the slowest server does one more."""
        if len(usable) < 2:  # noqa: PLR2004 - one server has no choice
            return len(usable)
        usual = self._pool.usual
        paces = [member.pace.seconds or usual for member in usable]
        slowest = max(pace * (each.limit.value + 1) for pace, each in zip(paces, usable, strict=True))
        return min(_MOST_WAITING, math.ceil(slowest * sum(1 / pace for pace in paces)))


def _outlook(member: Server, now: float, usual: float) -> ServerOutlook:
    pace = member.pace.seconds or usual
    parallel = member.limit.parallel or 1
    busy = member.under_way
    free_slots = max(0, parallel - busy)
    wait = 0.0 if free_slots else member.pace.seconds_left(now) * (busy - parallel + 1) / busy
    wait = max(wait, member.paused_until - now)
    if member.is_suspect:
        wait = _NOT_SOON_SECONDS
    return ServerOutlook(wait=wait, pace=pace, alone=pace * parallel)
