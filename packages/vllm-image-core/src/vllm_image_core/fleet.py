"""A fleet: several servers as one, each given the work that it will have done first.

Calls wait in one queue here and not in the servers', so that a call is bound to a server as late as can be.
A fleet of one server only passes on: its answers and its errors are that server's own.
"""

import asyncio
import contextlib
import copy
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest, EngineDead, OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.receipt import Receipt

from vllm_image_core.backend import Backend, ServerRequest
from vllm_image_core.circuit import PROBE_SECONDS
from vllm_image_core.errors import ImageError, InvalidRequest, PoisonRequest
from vllm_image_core.member import Call, Member, MemberReport, introduction, usual_seconds
from vllm_image_core.picture import Picture
from vllm_image_core.routing import Outlook, Queue, others_end
from vllm_image_core.size import PIXELS_PER_MEGAPIXEL
from vllm_image_core.verdict import Verdict, verdict_on

__all__ = ["Fleet"]

T = TypeVar("T")
R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)
Cost = Callable[[ServerRequest], float]
Learned = Callable[[str], float | None]

_logger = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
"""How often it is looked at whether a server is overdue, while calls wait for others."""

_MEETING_SECONDS: Final = 30.0
"""How often a server that has another model than is wanted is asked whether it has the right one now."""

_SHORTEST_TICK_SECONDS: Final = 0.01

_GRACE_SECONDS: Final = 1.0
"""How long the other servers are waited for once one of them has said what it serves."""

_UNAVAILABLE: Final = 503
_DEATHS: Final = 2
_MOST_REMEMBERED: Final = 1_000
_MOST_COSTLY: Final = 2
_MOST_COSTLY_OF_A_BATCH: Final = 4
_MOST_REFUSALS: Final = 3
_MOST_REFUSALS_OF_A_BATCH: Final = 8

_NOT_SOON_SECONDS: Final = 3_600.0
"""When a server is expected to take a fresh call that has to be found not guilty first."""

_MOST_WAITING: Final = 256
"""No more calls of a batch are asked for than so many beside those that are sent."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Fleet:
    """Several servers that are used as one; satisfies `Backend`.

    Args:
        members: At least one.
        cost: What a request costs, in any unit; None for a rough one from its size and its steps.
        learned: Seconds of a server, named by its URL, for a unit of that, as far as it was measured before;
            None where nothing was.
        parallel: How many requests each server works on at the same time; None to find it out.
        ceiling: Never more than so many requests at once on each server; None for no bound.
        clock: Seconds on a clock that never goes back; the event loop's own.

    Raises:
        InvalidRequest: No member, or one address twice.
    """

    def __init__(
        self,
        members: Sequence[Backend],
        *,
        cost: Cost | None = None,
        learned: Learned | None = None,
        parallel: int | None = None,
        ceiling: int | None = None,
        clock: Callable[[], float] = _loop_time,
    ) -> None:
        if not members:
            raise _wrong_servers("A studio needs at least one server.", [])
        self._cost = cost or _rough_cost
        self._learned = learned
        self._parallel = parallel
        self._ceiling = ceiling
        self._clock = clock
        self._members: list[Member] = []
        for backend in members:
            self._admit(backend)
        self._queue = Queue()
        self._met = False
        self._wanted: str | None = None
        self._deadly: dict[str, list[str]] = {}
        self._turns: dict[Call, asyncio.Future[None]] = {}
        self._active = 0
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reviving: asyncio.Task[None] | None = None
        self._giving: asyncio.Handle | None = None

    @property
    def base_url(self) -> str:
        """Where its servers are, without credentials."""
        return ", ".join(member.url for member in self._members)

    @property
    def members(self) -> tuple[MemberReport, ...]:
        """What is known of each server, in the order in which they were given."""
        return tuple(member.report() for member in self._members)

    @property
    def window(self) -> int:
        """How many calls of a batch should be open now, at least 1: what is sent, and a few that wait.

        So many wait that the order by cost, and the choice for the slowest server, have something to choose
        from.
        """
        if self._alone is not None:
            return self._alone.limit.value
        usable = [member for member in self._members if member.is_in or not member.asked]
        limits = sum(1 if each.circuit.state == "trial" else each.limit.value for each in usable)
        return max(1, limits + self._useful_waiting(usable))

    @property
    def ceiling(self) -> int | None:
        """Never more than so many requests at once on each server; None for no bound."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int | None) -> None:
        self._ceiling = ceiling
        for member in self._members:
            member.limit.ceiling = ceiling

    def join(self, backend: Backend) -> None:
        """Take in another server; it gets work as soon as it has said what it serves.

        Raises:
            InvalidRequest: It is a member already.
        """
        member = self._admit(backend)
        if self._active:
            self._start(self._meet(member))

    async def leave(self, url: str) -> None:
        """Give a server no more work, wait until it has done what it has, and close its connections.

        Raises:
            InvalidRequest: It is no member, or the last one.
        """
        member = next((each for each in self._members if each.url == url), None)
        if member is None or len(self._members) == 1:
            what = "is no server of this studio" if member is None else "is the last server"
            raise _wrong_servers(f"{url} {what}.", url)
        self._members.remove(member)
        gone = asyncio.Event()
        member.leaving = gone.set
        self._lose()
        if member.under_way:
            await gone.wait()
        await member.backend.aclose()

    async def generate_image(
        self, request: ImageGenerationRequest, /, *, cost: float | None = None, patient: bool = False
    ) -> ImageGenerationReply:
        """Make the pictures of one request on the server that will have made them first.

        Args:
            request: What to draw.
            cost: What it costs, for whoever knows better than the fleet's own `cost`.
            patient: Whether it belongs to a batch: it gives way to what somebody waits for.

        Raises:
            OmniError: The server's own error; of several servers the last one's, when none is left.
            PoisonRequest: Engines died on it twice.
        """
        work = self._cost(request) if cost is None else cost
        return await self._made(
            request, lambda backend, sent: backend.generate_image(sent), work, patient=patient
        )

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
        cost: float | None = None,
        patient: bool = False,
    ) -> ImageGenerationReply:
        """Change pictures on the server that will have done it first; raises as `generate_image` does.

        Args:
            request: What to change.
            image: The pictures, each the content of its file.
            mask_image: Where to change them.
            reference_image: What to take as a model.
            cost: As for `generate_image`.
            patient: Whether it belongs to a batch: it gives way to what somebody waits for.
        """

        def send(backend: Backend, sent: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
            return backend.edit_image(sent, image, mask_image=mask_image, reference_image=reference_image)

        work = self._cost(request) if cost is None else cost
        return await self._made(request, send, work, patient=patient)

    async def _made(
        self,
        request: R,
        call: Callable[[Backend, R], Awaitable[ImageGenerationReply]],
        work: float,
        *,
        patient: bool,
    ) -> ImageGenerationReply:
        async def send(member: Member) -> ImageGenerationReply:
            sent = request
            if request.model is not None and request.model != (model := self._name_at(member, request.model)):
                sent = request.model_copy(update={"model": model})
            return await call(member.backend, sent)

        if self._alone is not None:
            alone = self._alone
            return await self._passed_on(alone, lambda: call(alone.backend, request), work, patient=patient)
        self._wanted = request.model
        waiting = Call(work=work, model=request.model, patient=patient, repeatable=request.seed is not None)
        with self._remembering_deaths(request, waiting):
            reply, member = await self._served(waiting, send)
        return _signed(reply, request, member.url)

    async def get_models(self) -> ModelList:
        """The names of the model of the first server that answers.

        Raises:
            OmniError: None answers.
        """
        return await self._asked(lambda backend: backend.get_models())

    async def health_check(self) -> bool:
        """Whether a server can do what was asked for last; each is asked at most once in five seconds.

        Raises:
            OmniError: None answers.
        """
        if self._alone is not None:
            return await self._alone.backend.health_check()
        await self._introduced()
        await asyncio.gather(self._revive(), *map(self._look_at, self._members))
        if any(member.is_in and self._serves(member, self._wanted) for member in self._members):
            return True
        raise self._outage(self._members)

    async def get_version(self) -> str:
        """The version of the first server that answers.

        Raises:
            OmniError: None answers.
        """
        return await self._asked(lambda backend: backend.get_version())

    async def get_metrics(self) -> ServerMetrics:
        """The counters of all servers together; times are those of the first one.

        Raises:
            OmniError: None answers.
        """
        if self._alone is not None:
            return await self._counted(self._alone)
        await self._introduced()
        told: list[ServerMetrics] = []
        failure: OmniError | None = None
        for member in self._usable():
            try:
                told.append(await self._counted(member))
            except OmniError as error:
                failure = error
        if not told:
            raise failure or self._outage(self._members)
        return _together(told)

    async def requests_of_others(self) -> int | None:
        """How many requests of others the servers have now, running and waiting; None where none tells.

        Raises:
            OmniError: None answers.
        """
        await self.get_metrics()
        told = [member.others for member in self._members if member.others is not None]
        return sum(told) if told else None

    async def aclose(self) -> None:
        """Close the connections to all servers."""
        for task in (*self._tasks, *([self._keeper] if self._keeper else [])):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self._members:
            await member.backend.aclose()

    def version_at(self, url: str) -> str | None:
        """The version of one server; None where it is not known."""
        return next((member.version for member in self._members if member.url == url), None)

    def parallel_at(self, url: str) -> int | None:
        """How many requests one server works on at the same time, as it told; None while it has not."""
        return next((member.parallel for member in self._members if member.url == url), None)

    # A fleet of one

    @property
    def _alone(self) -> Member | None:
        return self._members[0] if len(self._members) == 1 else None

    async def _passed_on(
        self,
        member: Member,
        send: Callable[[], Awaitable[ImageGenerationReply]],
        work: float,
        *,
        patient: bool,
    ) -> ImageGenerationReply:
        sent = member.limit.began(self._clock())
        if patient:
            self._ask_how_many(member)
        try:
            reply = await send()
        except ServerBusy:
            member.limit.refused()
            raise
        except BaseException:
            member.limit.broke_off()
            raise
        else:
            member.limit.ended(sent, self._clock(), work)
            member.passed()
            return reply
        finally:
            member.left()

    async def _asked(self, ask: Callable[[Backend], Awaitable[T]]) -> T:
        if self._alone is not None:
            return await ask(self._alone.backend)
        await self._introduced()
        if not self._usable():
            await self._revive()
        failure: OmniError | None = None
        for member in self._usable():
            try:
                return await ask(member.backend)
            except OmniError as error:
                failure = error
        raise failure or self._outage(self._members)

    # The way of a call

    async def _served(
        self, call: Call, send: Callable[[Member], Awaitable[ImageGenerationReply]]
    ) -> tuple[ImageGenerationReply, Member]:
        self._active += 1
        if self._active == 1:
            self._giving = self._keeper = None  # those of an event loop that was closed will not come
        try:
            await self._introduced()
            while True:
                member = await self._turn(call)
                try:
                    reply = await self._sent(call, member, send)
                except (OmniError, ImageError) as error:
                    await self._consider(call, member, error)
                    call.first = True
                else:
                    self._settle_charge(call)
                    return reply, member
        finally:
            if call.blamed_by is not None:
                call.blamed_by.acquit()
            self._active -= 1
            if not self._active and self._keeper is not None:
                self._keeper.cancel()
                self._keeper = None

    @contextlib.contextmanager
    def _remembering_deaths(self, request: ServerRequest, call: Call) -> Generator[None]:
        """Know a request again on which an engine died, when it comes back after an outage."""
        if self._deadly:
            call.deaths = self._deadly.pop(request.model_dump_json(), call.deaths)
        try:
            yield
        except (ServerUnreachable, ServerBusy):
            if call.deaths:
                self._deadly[request.model_dump_json()] = call.deaths
                while len(self._deadly) > _MOST_REMEMBERED:
                    del self._deadly[next(iter(self._deadly))]
            raise

    def _settle_charge(self, call: Call) -> None:
        """Hold a failure against the server that called possible work impossible."""
        if call.blamed_by is not None:
            call.blamed_by.found_guilty(self._clock())
            call.blamed_by = None
            self._lose()

    async def _turn(self, call: Call) -> Member:
        """Wait until a server has room for a call, and nothing better to do."""
        if not any(self._may_serve(member, call) for member in self._members):
            await self._revive()
            if not any(self._may_serve(member, call) for member in self._members):
                raise self._refusal(call)
        call.member = None
        loop = asyncio.get_running_loop()
        self._queue.add(call)
        self._turns[call] = turn = loop.create_future()
        if self._giving is None:
            self._giving = loop.call_soon(self._give_way)  # calls that come together are given away together
        try:
            await turn
        except BaseException:
            self._withdraw(call)
            raise
        finally:
            del self._turns[call]
        if call.member is None:
            raise RuntimeError("a call was told its turn and not its server")
        return call.member

    def _withdraw(self, call: Call) -> None:
        if call.member is None:
            with contextlib.suppress(ValueError):  # it was told that no server is left for it
                self._queue.remove(call)
        else:
            call.member.gave_up(call, self._clock(), self._usual)
        self._give_way()

    async def _sent(
        self, call: Call, member: Member, send: Callable[[Member], Awaitable[ImageGenerationReply]]
    ) -> ImageGenerationReply:
        try:
            reply = await send(member)
            _check(reply)
        except (OmniError, ImageError) as error:
            member.failed(call, error, verdict_on(error), self._clock(), self._usual)
            if member.circuit.in_doubt and not member.probing:
                member.probing = True
                self._start(self._probe(member))
            self._lose()
            raise
        except BaseException:
            member.gave_up(call, self._clock(), self._usual)
            self._give_way()
            raise
        member.answered(call, self._clock(), self._usual)
        self._give_way()
        return reply

    async def _consider(self, call: Call, member: Member, error: OmniError | ImageError) -> None:
        """Raise an error that no other server would spare the caller."""
        verdict = verdict_on(error)
        call.error = copy.copy(error)
        if verdict.changed and await self._has_changed(call, member):
            return
        if not verdict.elsewhere or self._is_enough(call, member, verdict):
            raise error
        if len(call.deaths) >= _DEATHS:
            died = " and ".join(sorted(set(call.deaths)))
            raise PoisonRequest(f"The engine died on this request twice: {died}.") from error

    def _is_enough(self, call: Call, member: Member, verdict: Verdict) -> bool:
        if verdict.fault == "charged":
            if call.blamed_by is not None:
                member.acquit()
                return True
            call.blamed_by = member
        elif verdict.shared and call.avoided:
            return True
        if verdict.shared or verdict.fault == "rubbish":
            call.avoided.add(member)
        call.costly += verdict.costly
        call.refusals += verdict.fault == "busy"
        if verdict.costly and not call.repeatable:
            return True
        return call.costly > (_MOST_COSTLY_OF_A_BATCH if call.patient else _MOST_COSTLY) or call.refusals > (
            _MOST_REFUSALS_OF_A_BATCH if call.patient else _MOST_REFUSALS
        )

    async def _has_changed(self, call: Call, member: Member) -> bool:
        """Say whether a server serves something else than when it got a request, which it has refused."""
        if member.names == call.sent_to:
            await self._introduce(member)
        return member.names != call.sent_to

    # Who serves whom

    def _give_way(self) -> None:
        """Give calls away as long as a server is better taken than left free."""
        self._giving = None
        now = self._clock()
        if len(self._queue) and any(member.has_room(now) for member in self._members):
            self._give_all(now)
        if self._keeper is None and self._active and self._needs_keeping(now):
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def _give_all(self, now: float) -> None:
        self._recall_paces()
        usual = self._usual
        outlooks = {member: _outlook(member, now, usual) for member in self._members if member.is_in}
        while len(self._queue):
            mean = self._queue.work / len(self._queue)
            free = [member for member in outlooks if member.has_room(now)]
            free.sort(key=lambda member: outlooks[member].ends(mean))
            chosen = next(((call, each) for each in free if (call := self._choice(each, outlooks))), None)
            if chosen is None:
                return
            call, member = chosen
            self._give(call, member, now, usual)
            outlooks[member] = _outlook(member, now, usual)

    def _recall_paces(self) -> None:
        """Expect of a server that has done nothing yet what was learned of it before."""
        for member in self._members:
            if self._learned and member.pace.seconds is None:
                learned = self._learned(member.url)
                if learned is not None:
                    member.pace.expect(learned)

    def _choice(self, member: Member, outlooks: dict[Member, Outlook]) -> Call | None:
        mine = outlooks[member]
        others = [
            outlook
            for each, outlook in outlooks.items()
            if each is not member and self._serves(each, member.model)
        ]
        end = others_end(others, self._queue.work)
        longest = (end - mine.wait) / mine.alone

        def sooner(call: Call) -> bool:
            return mine.ends(call.work) <= min(
                (outlooks[each].ends(call.work) for each in outlooks if self._can_serve(each, call)),
                default=math.inf,
            )

        return self._queue.best(
            longest,
            lambda call: member.may_take(call) and self._serves(member, call.model),
            sooner,
            untried=member.pace.seconds is None,
        )

    def _give(self, call: Call, member: Member, now: float, usual: float) -> None:
        self._queue.remove(call)
        self._queue.gave_away()
        member.began(call, now, usual)
        self._ask_how_many(member)
        turn = self._turns.get(call)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _lose(self) -> None:
        """Let calls go that no server is left for, and give the others away."""
        for call in list(self._queue):
            turn = self._turns.get(call)
            left = any(self._may_serve(member, call) for member in self._members)
            if not left and turn is not None and not turn.done():
                self._queue.remove(call)
                turn.set_exception(self._refusal(call))
        self._give_way()

    def _can_serve(self, member: Member, call: Call) -> bool:
        return member.is_in and member not in call.avoided and self._serves(member, call.model)

    def _may_serve(self, member: Member, call: Call) -> bool:
        """Whether a call may wait for a server that is in, or that is being asked whether it is well."""
        return self._can_serve(member, call) or (
            member.circuit.in_doubt and member not in call.avoided and self._serves(member, call.model)
        )

    def _serves(self, member: Member, model: str | None) -> bool:
        return model is None or self._name_at(member, model) is not None

    def _name_at(self, member: Member, model: str) -> str | None:
        if model in member.names:
            return member.model
        roots = (root for each in self._members if (root := each.names.get(model)) is not None)
        return member.name_of(model, roots)

    def _usable(self) -> list[Member]:
        """Return the servers that get work: of those with different models, the ones with the first's."""
        inside = [member for member in self._members if member.is_in]
        model = next((member.model for member in self._members if member.model), None)
        return [member for member in inside if model is None or self._serves(member, model)] or inside

    @property
    def _usual(self) -> float:
        return usual_seconds(self._members)

    def _useful_waiting(self, usable: Sequence[Member]) -> int:
        """Return how many calls the others do while the slowest server does one more."""
        if len(usable) < 2:  # noqa: PLR2004 - one server has no choice
            return len(usable)
        usual = self._usual
        paces = [member.pace.seconds or usual for member in usable]
        slowest = max(pace * (each.limit.value + 1) for pace, each in zip(paces, usable, strict=True))
        return min(_MOST_WAITING, math.ceil(slowest * sum(1 / pace for pace in paces)))

    # What goes wrong

    def _refusal(self, call: Call) -> OmniError | ImageError:
        """Return the error of a call that no server is left for."""
        serving = [member for member in self._members if self._serves(member, call.model)]
        if not serving and all(member.names for member in self._members):
            served = ", ".join(f"{member.url}: {member.model}" for member in self._members)
            return BadRequest(f"No server has the model {call.model}. They serve {served}.", status=400)
        left = [member for member in serving if member not in call.avoided]
        if not left and call.error is not None:
            return copy.copy(call.error)
        return self._outage(left or self._members)

    def _outage(self, members: Sequence[Member]) -> OmniError | ImageError:
        """Return the error of a call that was not sent, for want of a server that is in."""
        errors = [(member.url, member.last_error) for member in members if member.last_error is not None]
        for _, error in reversed(errors):
            if isinstance(error, ServerUnreachable | ServerBusy):
                return copy.copy(error)
        why = "; ".join(f"{url}: {error}" for url, error in errors) or self.base_url
        return ServerUnreachable(f"No server can be used now. {why}")

    async def _revive(self) -> None:
        """Ask the servers that are out for their health, if it is time; all callers wait for one answer."""
        if self._reviving is None or self._reviving.done():
            self._reviving = self._start(self._probe_all())
        await asyncio.shield(self._reviving)

    async def _probe_all(self) -> None:
        now = self._clock()
        lost = not any(member.is_in and self._serves(member, self._wanted) for member in self._members)
        due = [
            member
            for member in self._members
            if not member.probing and member.circuit.may_probe(now, last_hope=lost)
        ]
        others = self._due_to_be_met(now, PROBE_SECONDS if lost else _MEETING_SECONDS)
        await asyncio.gather(*map(self._probe, due), *map(self._introduce, others))

    def _due_to_be_met(self, now: float, seconds: float) -> list[Member]:
        """Return the servers that had another model than is wanted, so many seconds ago."""
        return [
            member
            for member in self._members
            if member.is_in and now >= member.seen + seconds and not self._serves(member, self._wanted)
        ]

    async def _probe(self, member: Member) -> None:
        member.circuit.probing(self._clock())
        member.probing = True
        try:
            well = await self._is_well(member)
        finally:
            member.probing = False
        if well and await self._introduce(member):
            member.circuit.found_well()
        else:
            member.circuit.found_ill(self._clock())
            member.convict()
        self._lose()

    async def _look_at(self, member: Member) -> None:
        """Ask a server that gets work whether it is well, unless it has shown that just now."""
        if not member.is_in or self._clock() < member.seen + PROBE_SECONDS:
            return
        member.seen = self._clock()
        if not await self._is_well(member):
            member.circuit.failed(self._clock(), surely=True)
            self._lose()

    async def _is_well(self, member: Member) -> bool:
        try:
            well = await member.backend.health_check()
        except OmniError as error:
            member.last_error = copy.copy(error)
            return False
        if not well:
            member.last_error = EngineDead(f"{member.url}: /health does not answer 200", status=_UNAVAILABLE)
        return well

    # What the servers are

    async def _introduced(self) -> None:
        """Ask the servers once what they serve; one that is slow to answer holds up nobody for long."""
        if all(member.asked for member in self._members):
            return
        tasks = [self._start(self._meet(member)) for member in self._members if not member.asked]
        pending: set[asyncio.Task[None]] = set(tasks)
        while pending and not any(member.names for member in self._members):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await asyncio.wait(pending, timeout=_GRACE_SECONDS)
        self._met = True
        self._compare()

    async def _meet(self, member: Member) -> None:
        await self._introduce(member)

    async def _introduce(self, member: Member) -> bool:
        member.asked = True
        try:
            models, version = await introduction(member.backend)
        except OmniError as error:
            member.last_error = copy.copy(error)
            member.circuit.failed(self._clock(), surely=True)
            self._lose()
            return False
        member.introduced(models, version)
        member.seen = self._clock()
        if self._met:
            self._compare()
        self._lose()
        return True

    def _compare(self) -> None:
        """Tell when a server has another model or another version than the first, whoever answered first."""
        known = [member for member in self._members if member.names]
        for member in known:
            note = "" if member is known[0] else self._difference(known[0], member)
            if note and note != member.note:
                _logger.warning("%s", note)
            member.note = note

    def _difference(self, first: Member, member: Member) -> str:
        if not self._serves(member, first.model):
            return (
                f"{member.url} serves {member.model} and {first.url} serves {first.model}: "
                "a request goes to the servers that have its model."
            )
        if member.version != first.version:
            return (
                f"{member.url} has version {member.version or 'unknown'} and {first.url} has "
                f"{first.version or 'unknown'}: the same seed may make another picture there."
            )
        return ""

    def _admit(self, backend: Backend) -> Member:
        if any(member.url == backend.base_url for member in self._members):
            raise _wrong_servers(f"{backend.base_url} is named twice.", backend.base_url)
        member = Member(backend, parallel=self._parallel, ceiling=self._ceiling)
        self._members.append(member)
        return member

    # What goes on beside the calls

    def _needs_keeping(self, now: float) -> bool:
        return bool(len(self._queue)) or any(
            member.circuit.is_open
            or member.paused_until > now
            or (member.is_in and not self._serves(member, self._wanted))
            for member in self._members
        )

    async def _keep(self) -> None:
        """Probe servers that are out, wake those that were paused, and notice those that are overdue."""
        while True:
            now = self._clock()
            times = [member.paused_until - now for member in self._members if member.paused_until > now]
            await asyncio.sleep(max(_SHORTEST_TICK_SECONDS, min([*times, _TICK_SECONDS])))
            now = self._clock()
            probes = any(member.circuit.may_probe(now) for member in self._members)
            if probes or self._due_to_be_met(now, _MEETING_SECONDS):
                await self._revive()
            self._give_way()

    def _ask_how_many(self, member: Member) -> None:
        if self._parallel is None and member.wants_to_tell(self._clock()):
            self._start(self._told_how_many(member))

    async def _told_how_many(self, member: Member) -> None:
        try:
            told = await self._counted(member)
        except OmniError:
            return  # its pictures show whether it is well
        member.told(told.requests_running, told.requests_waiting)
        self._give_way()

    async def _counted(self, member: Member) -> ServerMetrics:
        """Ask a server for its numbers, and note how many of the requests there are not ours."""
        before = member.under_way
        told = await member.backend.get_metrics()
        own = max(before, member.under_way)
        member.counted(told.requests_running, told.requests_waiting, own=own)
        return told

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


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


def _rough_cost(request: ServerRequest) -> float:
    """Steps times what one takes, in proportion; a step's time grows a little faster than its pixels.

    The shape, 0.2 + MP + 0.2 MP², is that of the large diffusion transformers' operations.
    """
    width, _, height = (request.size or "1024x1024").partition("x")
    megapixels = int(width) * int(height) / PIXELS_PER_MEGAPIXEL
    return (request.num_inference_steps or 1) * (0.2 + megapixels + 0.2 * megapixels**2)


def _check(reply: ImageGenerationReply) -> None:
    """Refuse a reply whose first picture is none, so that another server makes it.

    What our own client has brought, it has checked already; only a client writes receipts.

    Raises:
        BadPicture: It is none.
    """
    if reply.receipt is None:
        Picture.check(reply.data[0].bytes)


def _signed(reply: ImageGenerationReply, request: ServerRequest, url: str) -> ImageGenerationReply:
    """Write on a reply who made it, where its client has not."""
    if reply.receipt is not None and reply.receipt.server:
        return reply
    receipt = reply.receipt or Receipt(requested=request, sent=request)
    return reply.with_receipt(replace(receipt, server=url))


def _together(told: Sequence[ServerMetrics]) -> ServerMetrics:
    def added(name: str) -> int | None:
        counts = [count for each in told if (count := getattr(each, name)) is not None]
        return sum(counts) if counts else None

    return replace(
        told[0],
        requests_running=added("requests_running"),
        requests_waiting=added("requests_waiting"),
        requests_succeeded=added("requests_succeeded"),
        requests_failed=added("requests_failed"),
        images=added("images"),
        peak_memory_mb=max((each.peak_memory_mb for each in told if each.peak_memory_mb), default=None),
    )


def _wrong_servers(message: str, value: object) -> InvalidRequest:
    return InvalidRequest(
        message, parameter="server", value=value, allowed="one or more servers, each named once"
    )
