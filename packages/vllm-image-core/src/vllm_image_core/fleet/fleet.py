"""Fleet: use several servers as one backend, sending each call to the server that will finish it first.

Calls wait in one queue here, not in the servers' queues, so that a call is assigned as late as possible.
A fleet of one server only passes calls on: its answers and errors are that server's own.
"""

import asyncio
import copy
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Self, TypeVar

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import OmniError, ServerBusy
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList
from vllm_omni_client.receipt import CallReport

from vllm_image_core.fleet.backend import Backend, BudgetedBackend, ImageBackend, ServerRequest
from vllm_image_core.fleet.error_policy import policy_for
from vllm_image_core.fleet.failover import Failover
from vllm_image_core.fleet.fair_queue import FairQueue, Flow
from vllm_image_core.fleet.health_checks import HealthChecks
from vllm_image_core.fleet.scheduler import Scheduler, rough_cost
from vllm_image_core.fleet.server import FleetCall, Server, ServerReport
from vllm_image_core.fleet.server_pool import ChooseModel, Learned, ServerPool

T = TypeVar("T")
R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)
Cost = Callable[[ServerRequest], float]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Fleet:
    """Several servers that are used as one; satisfies `Backend`.

    Each method raises `OmniError` if no server answers.

    Args:
        members: The servers, at least one.
        cost: Returns the cost of a request, in any unit; None for a rough cost from its size and steps.
        learned: Returns a server's seconds per unit of cost as measured before, by its URL; None if there is
            no record.
        parallel: Number of requests that each server runs at the same time; None to find it out.
        ceiling: Maximum number of requests at once on each server; None for no maximum.
        choose: Puts the model to use first in a server's list; None to use each list as it is.
        clock: Returns seconds on a clock that never goes back; by default the event loop's.

    Raises:
        InvalidRequest: There is no server, or an address is given twice.
    """

    def __init__(
        self,
        members: Sequence[Backend],
        *,
        cost: Cost | None = None,
        learned: Learned | None = None,
        parallel: int | None = None,
        ceiling: int | None = None,
        choose: ChooseModel | None = None,
        clock: Callable[[], float] = _loop_time,
    ) -> None:
        self._cost = cost or rough_cost
        self._clock = clock
        self._pool = ServerPool(members, learned=learned, parallel=parallel, ceiling=ceiling, choose=choose)
        self._health_checks = HealthChecks(
            self._pool,
            clock,
            on_change=lambda: self._scheduler.fail_unservable(),  # noqa: PLW0108 - it does not exist yet
            on_room=lambda: self._scheduler.dispatch(),  # noqa: PLW0108 - likewise
        )
        self._scheduler = Scheduler(self._pool, self._health_checks, clock)
        self._ended = asyncio.Event()
        self._failover = Failover(self._pool, self._health_checks, self._scheduler, clock)
        self._queue = FairQueue(lambda: self._room)
        self._flow: Flow | None = None

    def shared_by(self, name: str, *, share: float = 1.0) -> Self:
        """Return this fleet for one of several users, whose calls it takes in fair order; see `FairQueue`.

        All of these share the servers, the connections and what is known about them. Closing one closes none
        of that.

        Args:
            name: The user's name.
            share: The user's weight against the others', above 0.
        """
        shared = copy.copy(self)
        shared._flow = self._queue.flow(name, share=share)  # noqa: SLF001 - a copy of this object
        return shared

    @property
    def queue(self) -> FairQueue:
        """The queue in which the calls of several users wait for their turns."""
        return self._queue

    @property
    def base_url(self) -> str:
        """Its servers' base URLs without credentials, separated by commas."""
        return self._pool.base_url

    @property
    def members(self) -> tuple[ServerReport, ...]:
        """A report on each server, in the order they were given."""
        return tuple(member.report() for member in self._pool.members)

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The servers themselves, in the order they were given."""
        return tuple(member.backend for member in self._pool.members)

    @property
    def at_work(self) -> tuple[ServerReport, ...]:
        """A report on each server that gets requests, or on all if none does."""
        return tuple(member.report() for member in self._pool.usable() or self._pool.members)

    @property
    def window(self) -> int:
        """How many of a batch's calls should be open now, at least 1: those that are sent and some that wait.

        Enough calls wait to order them by cost and to choose a suitable one for the slowest server. If
        several users share the fleet, as many again wait, so that the user always takes part in the queue.
        """
        return self._room if self._flow is None else 2 * self._room

    @property
    def _room(self) -> int:
        alone = self._pool.alone
        return self._scheduler.window if alone is None else alone.limit.value

    @property
    def ceiling(self) -> int | None:
        """Maximum number of requests at once on each server; None for no maximum."""
        return self._pool.ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int | None) -> None:
        self._pool.ceiling = ceiling

    def join(self, backend: Backend) -> None:
        """Add a server; it gets requests as soon as it has reported its model.

        Raises:
            InvalidRequest: The fleet already has it.
        """
        self._health_checks.add(self._pool.admit(backend))

    async def leave(self, url: str) -> None:
        """Remove a server: send it no more requests, wait for those it has, and close its connections.

        Raises:
            InvalidRequest: The fleet does not have it, or it is the last one.
        """
        member = self._pool.dismiss(url)
        gone = asyncio.Event()
        member.leaving = gone.set
        self._scheduler.fail_unservable()
        if member.in_progress:
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
        """Generate the images of one request on the server that will finish it first.

        `cost` is in the unit of the fleet's own; a `low_priority` request belongs to a batch and gives way to
        interactive ones; without a budget, one begins with this call.

        Raises:
            OmniError: The server's own error; with several servers, the last one's when none is left.
            PoisonRequest: Engines died on it twice.
        """
        return await self._generate(
            request,
            lambda backend, sent: backend.generate_image(sent),
            cost,
            low_priority=low_priority,
            budget=budget,
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
        """Edit images on the server that will finish it first; raises what `generate_image` raises."""

        def send(backend: ImageBackend, sent: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
            return backend.edit_image(sent, image, mask_image=mask_image, reference_image=reference_image)

        return await self._generate(request, send, cost, low_priority=low_priority, budget=budget)

    async def get_models(self) -> ModelList:
        """Return the models of the first server that answers, the one to use first.

        Raises:
            ModelChanged: It does not list the wanted model.
        """
        return self._pool.choose(await self._ask_any(lambda backend: backend.get_models()))

    def choose_model(self, models: ModelList) -> ModelList:
        """Return a server's list with the model to use first; raises what `get_models` raises."""
        return self._pool.choose(models)

    async def health_check(self) -> bool:
        """Return whether a server can serve the last requested model; each is asked at most every 5 s."""
        if self._pool.alone is not None:
            return await self._pool.alone.backend.health_check()
        await self._health_checks.ensure_models_known()
        await asyncio.gather(
            self._health_checks.revive(), *map(self._health_checks.check, self._pool.members)
        )
        if any(
            member.is_in and self._pool.serves(member, self._pool.wanted) for member in self._pool.members
        ):
            return True
        raise self._pool.outage(self._pool.members)

    async def get_version(self) -> str:
        """Return the version of the first server that answers."""
        return await self._ask_any(lambda backend: backend.get_version())

    async def get_metrics(self) -> ServerMetrics:
        """Return the counters summed over all servers; times are those of the first one."""
        if self._pool.alone is not None:
            return await self._health_checks.count_requests(self._pool.alone)
        await self._health_checks.ensure_models_known()
        metrics: list[ServerMetrics] = []
        failure: OmniError | None = None
        for member in self._pool.usable():
            try:
                metrics.append(await self._health_checks.count_requests(member))
            except OmniError as error:
                failure = error
        if not metrics:
            raise failure or self._pool.outage(self._pool.members)
        return _sum(metrics)

    async def requests_of_others(self) -> int | None:
        """Return the number of other clients' requests on the servers; None if no server reports it."""
        await self.get_metrics()
        counts = [member.others for member in self._pool.members if member.others is not None]
        return sum(counts) if counts else None

    async def aclose(self) -> None:
        """Close the connections to all servers, unless this is the fleet of one of several users."""
        if self._flow is not None:
            return
        await self._health_checks.aclose()
        for member in self._pool.members:
            await member.backend.aclose()

    def version_at(self, url: str) -> str | None:
        """Return the version of one server; None if it is not known."""
        return next((member.version for member in self._pool.members if member.url == url), None)

    def parallel_at(self, url: str) -> int | None:
        """Return how many requests one server runs at the same time; None if it has not reported it."""
        return next((member.parallel for member in self._pool.members if member.url == url), None)

    async def _generate(
        self,
        request: R,
        send: Callable[[ImageBackend, R], Awaitable[ImageGenerationReply]],
        cost: float | None,
        *,
        low_priority: bool,
        budget: GenerationBudget | None,
    ) -> ImageGenerationReply:
        call = FleetCall(
            work=self._cost(request) if cost is None else cost,
            model=request.model,
            low_priority=low_priority,
            repeatable=request.seed is not None,
            budget=budget or GenerationBudget(),
        )
        if self._flow is None:
            return await self._send(request, send, call)
        # Several users share the fleet.
        async with self._queue.turn(self._flow, call.work, low_priority=low_priority):
            return await self._send(request, send, call)

    async def _send(
        self,
        request: R,
        send: Callable[[ImageBackend, R], Awaitable[ImageGenerationReply]],
        call: FleetCall,
    ) -> ImageGenerationReply:
        call.budget.restart_clock()

        def send_to(member: Server) -> Awaitable[ImageGenerationReply]:
            sent = request
            if call.model is not None and self._pool.alone is None:
                model = self._pool.name_at(member, call.model)
                sent = request if model == call.model else request.model_copy(update={"model": model})
            return _spend(call.budget, member.backend, lambda backend: send(backend, sent), self._clock)

        if self._pool.alone is not None:
            return await self._pass_through(self._pool.alone, call, send_to)
        self._pool.wanted = call.model
        reply, member = await self._failover.serve(request, call, send_to)
        return _with_server(reply, request, member.url, call.budget)

    async def _pass_through(
        self, member: Server, call: FleetCall, send: Callable[[Server], Awaitable[ImageGenerationReply]]
    ) -> ImageGenerationReply:
        """Send a call to the only server; one of a batch waits if the server has no room for more."""
        while True:
            try:
                return await self._pass_once(member, call, send)
            except ServerBusy as error:
                if not (call.low_priority and member.in_progress) or error.retry_after_seconds is not None:
                    raise
            while member.in_progress and not member.limit.has_room:
                self._ended.clear()
                await self._ended.wait()

    async def _pass_once(
        self, member: Server, call: FleetCall, send: Callable[[Server], Awaitable[ImageGenerationReply]]
    ) -> ImageGenerationReply:
        sent = member.limit.record_sent(self._clock())
        if call.low_priority:
            self._health_checks.update_counts(member)
        record: Callable[[], object] = member.limit.record_aborted  # even if cancelled
        try:
            reply = await send(member)
            member.record_passed_through()
        except OmniError as error:
            if policy_for(error).fault == "busy":
                record = member.limit.record_refused
            raise
        else:
            record = functools.partial(member.limit.record_answered, sent, self._clock(), call.work)
            return reply
        finally:
            record()
            self._ended.set()
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
    """Call a backend, and record what that cost unless the backend does so itself."""
    if isinstance(backend, BudgetedBackend):
        return await call(backend.with_budget(budget))
    budget.start_attempt(clock)
    try:
        reply = await call(backend)
    except OmniError as error:
        budget.add_attempts_of(error)
        budget.record_failure(error, clock(), cost=error.gpu_spent)
        budget.annotate(error, error.exchange)
        raise
    budget.charge("yes")
    return reply


def _with_server(
    reply: ImageGenerationReply, request: ServerRequest, url: str, budget: GenerationBudget
) -> ImageGenerationReply:
    """Add to a reply's receipt which server answered and what was tried before, unless its client has."""
    if reply.receipt is not None and reply.receipt.server:
        return reply
    receipt = reply.receipt or CallReport(requested=request, sent=request, failures=budget.failures)
    return reply.with_receipt(replace(receipt, server=url))


def _sum(metrics: Sequence[ServerMetrics]) -> ServerMetrics:
    totals: dict[str, int | None] = {}
    for name in ("requests_running", "requests_waiting", "requests_succeeded", "requests_failed", "images"):
        counts = [count for each in metrics if (count := getattr(each, name)) is not None]
        totals[name] = sum(counts) if counts else None
    peak = max((each.peak_memory_mb for each in metrics if each.peak_memory_mb), default=None)
    return replace(metrics[0], peak_memory_mb=peak, **totals)
