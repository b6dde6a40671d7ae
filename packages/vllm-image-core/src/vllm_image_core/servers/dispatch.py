"""Dispatch: the calls that wait, each given to the server that is best for it.

They wait here and not in the servers' queues, so that a call is bound to a server as late as can be.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from vllm_image_core.servers.checkup import Checkup
from vllm_image_core.servers.crew import Crew
from vllm_image_core.servers.member import Call, Member
from vllm_image_core.servers.routing import Outlook, Queue, others_end

__all__ = ["Dispatch"]

_NOT_SOON_SECONDS: Final = 3_600.0
"""When a server is expected to take a fresh call that has to be found not guilty first."""

_MOST_WAITING: Final = 256
"""No more calls of a batch are asked for than so many beside those that are sent."""


class Dispatch:
    """Gives calls away as long as a server is better taken than left free.

    Args:
        crew: The servers.
        checkup: Asks them.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, crew: Crew, checkup: Checkup, clock: Callable[[], float]) -> None:
        self._crew = crew
        self._checkup = checkup
        self._clock = clock
        self._queue = Queue()
        self._turns: dict[Call, asyncio.Future[None]] = {}
        self._giving: asyncio.Handle | None = None

    @property
    def window(self) -> int:
        """How many calls of a batch should be open now, at least 1: what is sent, and a few that wait."""
        usable = [member for member in self._crew.members if member.is_in or not member.asked]
        limits = sum(1 if each.circuit.state == "trial" else each.limit.value for each in usable)
        return max(1, limits + self._useful_waiting(usable))

    def begin(self) -> None:
        """There are calls from now on."""
        self._giving = None  # that of an event loop that was closed will not come

    async def turn(self, call: Call) -> Member:
        """Wait until a server has room for a call, and nothing better to do."""
        if not any(self._crew.may_serve(member, call) for member in self._crew.members):
            await self._checkup.revive()
            if not any(self._crew.may_serve(member, call) for member in self._crew.members):
                raise self._crew.refusal(call)
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
        if len(self._queue) and any(member.has_room(now) for member in self._crew.members):
            self._give_all(now)
        self._checkup.keep(now, waiting=bool(len(self._queue)))

    def lose(self) -> None:
        """Let calls go that no server is left for, and give the others away."""
        for call in list(self._queue):
            turn = self._turns.get(call)
            left = any(self._crew.may_serve(member, call) for member in self._crew.members)
            if not left and turn is not None and not turn.done():
                self._queue.remove(call)
                turn.set_exception(self._crew.refusal(call))
        self.give_way()

    def _withdraw(self, call: Call) -> None:
        if call.member is None:
            with contextlib.suppress(ValueError):  # it was told that no server is left for it
                self._queue.remove(call)
        else:
            call.member.gave_up(call, self._clock(), self._crew.usual)
        self.give_way()

    def _give_all(self, now: float) -> None:
        self._crew.recall_paces()
        usual = self._crew.usual
        outlooks = {member: _outlook(member, now, usual) for member in self._crew.members if member.is_in}
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

    def _reserve(self, outlooks: dict[Member, Outlook], now: float, usual: float) -> set[Member]:
        """Keep a server free for each call that must be alone there, and give it away where one is free."""
        reserved: set[Member] = set()
        for call in [call for call in self._queue if call.alone]:
            able = [
                member
                for member in outlooks
                if member not in reserved and self._crew.can_serve(member, call) and member.may_hold(call)
            ]
            if not able:
                continue
            member = min(able, key=lambda each: each.under_way)
            reserved.add(member)
            if not member.under_way and member.has_room(now):
                self._give(call, member, now, usual)
                outlooks[member] = _outlook(member, now, usual)
        return reserved

    def _choice(self, member: Member, outlooks: dict[Member, Outlook]) -> Call | None:
        mine = outlooks[member]
        others = [
            outlook
            for each, outlook in outlooks.items()
            if each is not member and self._crew.serves(each, member.model)
        ]
        end = others_end(others, self._queue.work)
        longest = (end - mine.wait) / mine.alone

        def sooner(call: Call) -> bool:
            return mine.ends(call.work) <= min(
                (outlooks[each].ends(call.work) for each in outlooks if self._crew.can_serve(each, call)),
                default=math.inf,
            )

        return self._queue.best(
            longest,
            lambda call: not call.alone and member.may_take(call) and self._crew.serves(member, call.model),
            sooner,
            untried=member.pace.seconds is None,
        )

    def _give(self, call: Call, member: Member, now: float, usual: float) -> None:
        self._queue.remove(call)
        self._queue.gave_away()
        member.began(call, now, usual)
        self._checkup.ask_how_many(member)
        turn = self._turns.get(call)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _useful_waiting(self, usable: Sequence[Member]) -> int:
        """Return how many calls the others do while the slowest server does one more."""
        if len(usable) < 2:  # noqa: PLR2004 - one server has no choice
            return len(usable)
        usual = self._crew.usual
        paces = [member.pace.seconds or usual for member in usable]
        slowest = max(pace * (each.limit.value + 1) for pace, each in zip(paces, usable, strict=True))
        return min(_MOST_WAITING, math.ceil(slowest * sum(1 / pace for pace in paces)))


def _outlook(member: Member, now: float, usual: float) -> Outlook:
    pace = member.pace.seconds or usual
    parallel = member.limit.parallel or 1
    busy = member.under_way
    free_slots = max(0, parallel - busy)
    wait = 0.0 if free_slots else member.pace.seconds_left(now) * (busy - parallel + 1) / busy
    wait = max(wait, member.paused_until - now)
    if member.is_charged:
        wait = _NOT_SOON_SECONDS
    return Outlook(wait=wait, pace=pace, alone=pace * parallel)
