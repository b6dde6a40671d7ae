"""A fleet: several servers as one, each given the work that it will have done first.

Calls wait in one queue here and not in the servers', so that a call is bound to a server as late as can be.
A fleet of one server only passes on: its answers and its errors are that server's own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import OmniError
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.receipt import CallReport

from vllm_image_core.fleet.backend import Backend, BudgetedBackend, ImageBackend, ServerRequest
from vllm_image_core.fleet.error_policy import policy_for
from vllm_image_core.fleet.failover import Failover
from vllm_image_core.fleet.health_checks import HealthChecks
from vllm_image_core.fleet.scheduler import Scheduler, rough_cost
from vllm_image_core.fleet.server import FleetCall, Server, ServerReport
from vllm_image_core.fleet.server_pool import Learned, ServerPool

__all__ = ["Fleet"]

T = TypeVar("T")
R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)
Cost = Callable[[ServerRequest], float]


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
        self._cost = cost or rough_cost
        self._clock = clock
        self._pool = ServerPool(members, learned=learned, parallel=parallel, ceiling=ceiling)
        self._health_checks = HealthChecks(self._pool, clock, lose=self._lose, give_way=self._give_way)
        self._scheduler = Scheduler(self._pool, self._health_checks, clock)
        self._failover = Failover(self._pool, self._health_checks, self._scheduler, clock)

    @property
    def base_url(self) -> str:
        """Where its servers are, without credentials."""
        return self._pool.base_url

    @property
    def members(self) -> tuple[ServerReport, ...]:
        """What is known of each server, in the order in which they were given."""
        return tuple(member.report() for member in self._pool.members)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The servers themselves, in the order in which they were given."""
        return tuple(member.backend for member in self._pool.members)

    @property
    def at_work(self) -> tuple[ServerReport, ...]:
        """The same of those that get work, of all where none does: a server of another model gets none."""
        return tuple(member.report() for member in self._pool.usable() or self._pool.members)

    @property
    def window(self) -> int:
        """How many calls of a batch should be open now, at least 1: what is sent, and a few that wait.

        So many wait that the order by cost, and the choice for the slowest server, have something to choose
        from.
        """
        alone = self._pool.alone
        return self._scheduler.window if alone is None else alone.limit.value

    @property
    def ceiling(self) -> int | None:
        """Never more than so many requests at once on each server; None for no bound."""
        return self._pool.ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int | None) -> None:
        self._pool.ceiling = ceiling

    def join(self, backend: Backend) -> None:
        """Take in another server; it gets work as soon as it has said what it serves.

        Raises:
            InvalidRequest: It is a member already.
        """
        self._health_checks.add(self._pool.admit(backend))

    async def leave(self, url: str) -> None:
        """Give a server no more work, wait until it has done what it has, and close its connections.

        Raises:
            InvalidRequest: It is no member, or the last one.
        """
        member = self._pool.dismiss(url)
        gone = asyncio.Event()
        member.leaving = gone.set
        self._scheduler.lose()
        if member.under_way:
            await gone.wait()
        await member.backend.aclose()

    async def generate_image(
        self,
        request: ImageGenerationRequest,
        /,
        *,
        cost: float | None = None,
        low_priority: bool = False,
        budget: GenerationBudget | None = None,
    ) -> ImageGenerationReply:
        """Make the pictures of one request on the server that will have made them first.

        Args:
            request: What to draw.
            cost: What it costs, for whoever knows better than the fleet's own `cost`.
            low_priority: Whether it belongs to a batch: it gives way to what somebody waits for.
            budget: What the image may still cost; None for one that is begun with this call.

        Raises:
            OmniError: The server's own error; of several servers the last one's, when none is left.
            PoisonRequest: Engines died on it twice.
        """
        work = self._cost(request) if cost is None else cost
        return await self._generate(
            request,
            lambda backend, sent: backend.generate_image(sent),
            work,
            low_priority=low_priority,
            budget=budget or GenerationBudget(),
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
        low_priority: bool = False,
        budget: GenerationBudget | None = None,
    ) -> ImageGenerationReply:
        """Change pictures on the server that will have done it first; raises as `generate_image` does.

        Args:
            request: What to change.
            image: The pictures, each the content of its file.
            mask_image: Where to change them.
            reference_image: What to take as a model.
            cost: As for `generate_image`.
            low_priority: Whether it belongs to a batch: it gives way to what somebody waits for.
            budget: As for `generate_image`.
        """

        def send(backend: ImageBackend, sent: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
            return backend.edit_image(sent, image, mask_image=mask_image, reference_image=reference_image)

        work = self._cost(request) if cost is None else cost
        return await self._generate(
            request, send, work, low_priority=low_priority, budget=budget or GenerationBudget()
        )

    async def get_models(self) -> ModelList:
        """The names of the model of the first server that answers.

        Raises:
            OmniError: None answers.
        """
        return await self._ask_any(lambda backend: backend.get_models())

    async def health_check(self) -> bool:
        """Whether a server can do what was asked for last; each is asked at most once in five seconds.

        Raises:
            OmniError: None answers.
        """
        if self._pool.alone is not None:
            return await self._pool.alone.backend.health_check()
        await self._health_checks.ensure_models_known()
        await asyncio.gather(
            self._health_checks.revive(), *map(self._health_checks.look_at, self._pool.members)
        )
        if any(
            member.is_in and self._pool.serves(member, self._pool.wanted) for member in self._pool.members
        ):
            return True
        raise self._pool.outage(self._pool.members)

    async def get_version(self) -> str:
        """The version of the first server that answers.

        Raises:
            OmniError: None answers.
        """
        return await self._ask_any(lambda backend: backend.get_version())

    async def get_metrics(self) -> ServerMetrics:
        """The counters of all servers together; times are those of the first one.

        Raises:
            OmniError: None answers.
        """
        if self._pool.alone is not None:
            return await self._health_checks.count_requests(self._pool.alone)
        await self._health_checks.ensure_models_known()
        told: list[ServerMetrics] = []
        failure: OmniError | None = None
        for member in self._pool.usable():
            try:
                told.append(await self._health_checks.count_requests(member))
            except OmniError as error:
                failure = error
        if not told:
            raise failure or self._pool.outage(self._pool.members)
        return _together(told)

    async def requests_of_others(self) -> int | None:
        """How many requests of others the servers have now, running and waiting; None where none tells.

        Raises:
            OmniError: None answers.
        """
        await self.get_metrics()
        told = [member.others for member in self._pool.members if member.others is not None]
        return sum(told) if told else None

    async def aclose(self) -> None:
        """Close the connections to all servers."""
        await self._health_checks.aclose()
        for member in self._pool.members:
            await member.backend.aclose()

    def version_at(self, url: str) -> str | None:
        """The version of one server; None where it is not known."""
        return next((member.version for member in self._pool.members if member.url == url), None)

    def parallel_at(self, url: str) -> int | None:
        """How many requests one server works on at the same time, as it told; None while it has not."""
        return next((member.parallel for member in self._pool.members if member.url == url), None)

    async def _generate(
        self,
        request: R,
        call: Callable[[ImageBackend, R], Awaitable[ImageGenerationReply]],
        work: float,
        *,
        low_priority: bool,
        budget: GenerationBudget,
    ) -> ImageGenerationReply:
        async def spend(backend: Backend, sent: R) -> ImageGenerationReply:
            return await _spend(budget, backend, lambda one: call(one, sent), self._clock)

        async def send(member: Server) -> ImageGenerationReply:
            sent = request
            if request.model is not None and request.model != (
                model := self._pool.name_at(member, request.model)
            ):
                sent = request.model_copy(update={"model": model})
            return await spend(member.backend, sent)

        if self._pool.alone is not None:
            alone = self._pool.alone
            return await self._pass_through(
                alone, lambda: spend(alone.backend, request), work, low_priority=low_priority
            )
        self._pool.wanted = request.model
        waiting = FleetCall(
            work=work,
            model=request.model,
            low_priority=low_priority,
            repeatable=request.seed is not None,
            budget=budget,
        )
        reply, member = await self._failover.serve(request, waiting, send)
        return _with_server(reply, request, member.url, budget)

    def _lose(self) -> None:
        self._scheduler.lose()

    def _give_way(self) -> None:
        self._scheduler.give_way()

    async def _pass_through(
        self,
        member: Server,
        send: Callable[[], Awaitable[ImageGenerationReply]],
        work: float,
        *,
        low_priority: bool,
    ) -> ImageGenerationReply:
        sent = member.limit.record_sent(self._clock())
        if low_priority:
            self._health_checks.ask_how_many(member)
        try:
            reply = await send()
        except OmniError as error:
            if policy_for(error).fault == "busy":
                member.limit.record_refused()
            else:
                member.limit.record_aborted()
            raise
        except BaseException:  # cancelled, too: its place is free, and its time tells nothing
            member.limit.record_aborted()
            raise
        else:
            member.limit.record_answered(sent, self._clock(), work)
            member.record_passed_through()
            return reply
        finally:
            member.release()

    async def _ask_any(self, ask: Callable[[Backend], Awaitable[T]]) -> T:
        if self._pool.alone is not None:
            return await ask(self._pool.alone.backend)
        await self._health_checks.ensure_models_known()
        if not self._pool.usable():
            await self._health_checks.revive()
        failure: OmniError | None = None
        for member in self._pool.usable():
            try:
                return await ask(member.backend)
            except OmniError as error:
                failure = error
        raise failure or self._pool.outage(self._pool.members)


async def _spend(
    budget: GenerationBudget,
    backend: Backend,
    call: Callable[[ImageBackend], Awaitable[ImageGenerationReply]],
    clock: Callable[[], float],
) -> ImageGenerationReply:
    """Call a backend, and write down what that cost, where it does not do so itself."""
    if isinstance(backend, BudgetedBackend):
        return await call(backend.with_budget(budget))
    budget.begin(clock)
    try:
        reply = await call(backend)
    except OmniError as error:
        budget.add(error)
        budget.fail(error, clock(), cost=error.gpu_spent)
        raise
    budget.charge("yes")
    return reply


def _with_server(
    reply: ImageGenerationReply, request: ServerRequest, url: str, budget: GenerationBudget
) -> ImageGenerationReply:
    """Write on a reply who made it, and what was tried before, where its client has not."""
    if reply.receipt is not None and reply.receipt.server:
        return reply
    receipt = reply.receipt or CallReport(requested=request, sent=request, failures=budget.failures)
    return reply.with_receipt(replace(receipt, server=url))


def _together(told: Sequence[ServerMetrics]) -> ServerMetrics:
    def total(name: str) -> int | None:
        counts = [count for each in told if (count := getattr(each, name)) is not None]
        return sum(counts) if counts else None

    return replace(
        told[0],
        requests_running=total("requests_running"),
        requests_waiting=total("requests_waiting"),
        requests_succeeded=total("requests_succeeded"),
        requests_failed=total("requests_failed"),
        images=total("images"),
        peak_memory_mb=max((each.peak_memory_mb for each in told if each.peak_memory_mb), default=None),
    )
