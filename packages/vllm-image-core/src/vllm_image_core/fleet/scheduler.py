"""Scheduler: queue the calls of a fleet, and send each to the server that will finish it first.

Calls wait here, not in the servers' queues, so that a call is assigned to a server as late as possible.
"""

import asyncio
import contextlib
import logging
import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.health_checks import HealthChecks
from vllm_image_core.fleet.outlook import Outlooks
from vllm_image_core.fleet.server import FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.imaging.size import PIXELS_PER_MEGAPIXEL

_logger = logging.getLogger(__name__)


class CallQueue:
    """The waiting calls: interactive ones ordered by arrival, those of batches by cost."""

    def __init__(self) -> None:
        self._urgent: deque[FleetCall] = deque()
        self._low_priority: list[FleetCall] = []
        self._arrived: deque[FleetCall] = deque()
        self._dispatched = 0
        self.work: float = 0.0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._low_priority)

    def __iter__(self) -> Iterator[FleetCall]:
        yield from self._urgent
        yield from self._low_priority

    @property
    def least(self) -> float:
        """The work of a batch's smallest call; infinity if no batch waits."""
        return self._low_priority[0].work if self._low_priority else math.inf

    def add(self, call: FleetCall) -> None:
        """Add a call to the queue."""
        call.number = self._dispatched
        self.work += call.work
        if call.first:
            self._urgent.appendleft(call)
        elif call.low_priority:
            insort(self._low_priority, call, key=_work)
            self._arrived.append(call)
        else:
            self._urgent.append(call)

    def remove(self, call: FleetCall) -> None:
        """Remove a call, because it is dispatched or given up."""
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
        """Return the call that a server gets next; None if it is better left idle.

        `longest` is the most work that it could do before the other servers have finished everything, `fits`
        tells whether it can do a call, `sooner` whether it would finish it before any other, and `untried`
        whether its speed is not known yet.
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
        """Count a call that was dispatched."""
        self._dispatched += 1

    def _is_overdue(self, call: FleetCall) -> bool:
        """Return whether too many calls that came later have been dispatched before this one."""
        return self._dispatched - call.number > max(64, 4 * len(self._low_priority))


def _work(call: FleetCall) -> float:
    return call.work


def rough_cost(request: ServerRequest) -> float:
    """Estimate a request's relative cost: its steps times a function of its megapixels.

    The function, 0.2 + MP + 0.2 MP², follows the operation count of large diffusion transformers.
    """
    width, _, height = (request.size or "1024x1024").partition("x")
    megapixels = int(width) * int(height) / PIXELS_PER_MEGAPIXEL
    return (request.num_inference_steps or 1) * (0.2 + megapixels + 0.2 * megapixels**2)


_MOST_WAITING: Final = 256
"""Maximum number of a batch's calls that wait here in addition to those that are sent."""


class Scheduler:
    """Sends waiting calls to servers whenever that is better than leaving a server idle."""

    def __init__(self, pool: ServerPool, health_checks: HealthChecks, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._health_checks = health_checks
        self._clock = clock
        self._queue = CallQueue()
        self._turns: dict[FleetCall, asyncio.Future[None]] = {}
        self._dispatching: asyncio.Handle | None = None

    @property
    def window(self) -> int:
        """How many of a batch's calls should be open now, at least 1: those sent and a few that wait."""
        usable = [member for member in self._pool.members if member.is_in or not member.asked]
        limits = sum(1 if each.circuit.state == "trial" else each.limit.value for each in usable)
        return max(1, limits + self._useful_waiting(usable))

    def begin(self) -> None:
        """Start: calls come from now on."""
        self._dispatching = None  # one from a closed event loop would never run

    async def turn(self, call: FleetCall) -> Server:
        """Wait until a server should run this call, and return the server."""
        if not any(self._pool.may_serve(member, call) for member in self._pool.members):
            await self._health_checks.revive()
            if not any(self._pool.may_serve(member, call) for member in self._pool.members):
                raise self._pool.unservable_error(call)
        call.server = None
        loop = asyncio.get_running_loop()
        self._queue.add(call)
        self._turns[call] = turn = loop.create_future()
        if self._dispatching is None:
            self._dispatching = loop.call_soon(self.dispatch)  # together with calls that come now
        try:
            with contextlib.ExitStack() as on_error:  # even if cancelled: what no longer waits gets no turn
                on_error.callback(self._withdraw, call)
                await turn
                on_error.pop_all()
        finally:
            del self._turns[call]
        if call.server is None:
            raise RuntimeError("a call got its turn without a server")
        return call.server

    def dispatch(self) -> None:
        """Dispatch calls while that is better than leaving a server idle."""
        self._dispatching = None
        now = self._clock()
        if len(self._queue) and any(member.has_room(now) for member in self._pool.members):
            self._dispatch_all(now)
        self._health_checks.start_periodic(now, waiting=bool(len(self._queue)))

    def fail_unservable(self) -> None:
        """Fail the calls that no server is left for, and dispatch the others."""
        for call in list(self._queue):
            turn = self._turns.get(call)
            left = any(self._pool.may_serve(member, call) for member in self._pool.members)
            if not left and turn is not None and not turn.done():
                self._queue.remove(call)
                turn.set_exception(self._pool.unservable_error(call))
        self.dispatch()

    def _withdraw(self, call: FleetCall) -> None:
        if call.server is None:
            with contextlib.suppress(ValueError):  # it was failed because no server is left for it
                self._queue.remove(call)
        else:
            usual = self._pool.seconds_of(call.server)
            call.server.record_abandoned(call, self._clock(), usual)
        self.dispatch()

    def _dispatch_all(self, now: float) -> None:
        self._pool.load_service_rates()
        outlooks = Outlooks(self._pool, now)
        reserved = self._reserve(outlooks, now)
        is_picky = any(call.avoided for call in self._queue)
        free = [member for member in outlooks if member.has_room(now) and member not in reserved]
        while len(self._queue):
            work, least = self._queue.work, self._queue.least
            mean = work / len(self._queue)
            able = [each for each in free if is_picky or outlooks.may_help(each, work, least)]
            able.sort(key=lambda member: outlooks[member].ends(mean))
            chosen = next(((call, each) for each in able if (call := self._choice(each, outlooks))), None)
            if chosen is None:
                return
            call, member = chosen
            self._assign(call, member, now)
            outlooks.update(member)
            if not member.has_room(now):
                free.remove(member)

    def _reserve(self, outlooks: Outlooks, now: float) -> set[Server]:
        """Reserve a server for each call that must run alone, and dispatch the call if the server is idle."""
        reserved: set[Server] = set()
        alone = [call for call in self._queue if call.alone]
        by_load = sorted(outlooks, key=lambda member: member.in_progress) if alone else []
        for call in alone:
            able = (each for each in by_load if self._pool.can_serve(each, call) and each.may_hold(call))
            member = next(able, None)
            if member is None:
                continue
            by_load.remove(member)
            reserved.add(member)
            if not member.in_progress and member.has_room(now):
                self._assign(call, member, now)
                outlooks.update(member)
        return reserved

    def _choice(self, member: Server, outlooks: Outlooks) -> FleetCall | None:
        mine = outlooks[member]
        return self._queue.best(
            (outlooks.others_end(member, self._queue.work) - mine.wait) / mine.alone,
            lambda call: not call.alone and member.may_take(call) and self._pool.serves(member, call.model),
            lambda call: mine.ends(call.work) <= outlooks.soonest_end(call),
            untried=member.service_rate.seconds is None,
        )

    def _assign(self, call: FleetCall, member: Server, now: float) -> None:
        self._queue.remove(call)
        self._queue.count_assigned()
        member.record_sent(call, now, self._pool.seconds_of(member))
        _logger.debug("%s: sent to %s; %d still wait", call.label, member.url, len(self._queue))
        self._health_checks.update_counts(member)
        turn = self._turns.get(call)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _useful_waiting(self, usable: Sequence[Server]) -> int:
        """Return how many calls the other servers finish while the slowest one does one more."""
        if len(usable) < 2:  # noqa: PLR2004 - with one server there is no choice
            return len(usable)
        usual = self._pool.usual
        times = [member.service_rate.seconds or usual for member in usable]
        slowest = max(seconds * (each.limit.value + 1) for seconds, each in zip(times, usable, strict=True))
        return min(_MOST_WAITING, math.ceil(slowest * sum(1 / seconds for seconds in times)))
