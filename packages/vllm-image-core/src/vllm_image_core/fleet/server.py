"""A member of a fleet: one server, with what was learnt of it and what it has to do."""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vllm_omni_client.errors import BadReply, OmniError, ServerBusy, ServerRefused
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ModelList

from vllm_image_core.errors import ImageError
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.circuit_breaker import CircuitBreaker, CircuitState
from vllm_image_core.fleet.concurrency_limit import ConcurrencyLimiter, RequestToken
from vllm_image_core.fleet.error_policy import ErrorPolicy
from vllm_image_core.text import error_name

__all__ = [
    "FleetCall",
    "Server",
    "ServerReport",
    "ServiceRate",
    "introduction",
    "usual_seconds",
]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """What is known of one server of a fleet.

    Attributes:
        url: Its base URL, without credentials.
        state: "closed": it gets work; "open": it is out, and asked for its health; "trial": it is let in
            again; "unknown": it was not asked yet.
        model: The model that it serves; None while it has not told it.
        version: Its version, likewise.
        under_way: How many requests it has now.
        limit: How many it may have.
        parallel: How many it works on at the same time, as it told; None while it has not.
        others: How many requests of others it had when it was asked last, running and waiting; None where it
            does not tell.
        done: How many it answered.
        failed: How many it failed at.
        error: Why it is out; None when it is not.
        note: In what it differs from the others; "" when it does not.
    """

    url: str
    state: CircuitState | Literal["unknown"]
    model: str | None
    version: str | None
    under_way: int
    limit: int
    parallel: int | None
    others: int | None
    done: int
    failed: int
    error: OmniError | ImageError | None
    note: str


_MEMORY: Final = 0.9
"""What is left of an observation after the next one: some ten of them count."""

_EXPECTED: Final = 2.0
"""What was learned of a server before counts as so many units of work."""


class ServiceRate:
    """The pace of one server, in seconds for a unit of work. Times are on a clock that never goes back."""

    def __init__(self) -> None:
        self._work = 0.0
        self._busy = 0.0
        self._outstanding = 0.0
        self._under_way = 0
        self._since = 0.0
        self._until = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds for a unit of work while it is busy, over all that it does at once; None at first."""
        return self._busy / self._work if self._work > 0 else None

    def expect(self, seconds: float) -> None:
        """Take it as known how many seconds a unit of work takes, until its own work shows it."""
        self._work, self._busy = _EXPECTED, _EXPECTED * seconds

    def record_sent(self, now: float, work: float, usual: float) -> None:
        """Take in that some work was sent.

        Args:
            now: The time.
            work: How much.
            usual: Seconds for a unit of work on other servers, as long as this one's are not known.
        """
        if self._under_way == 0:
            self._since = now
        self._under_way += 1
        self._outstanding += work
        self._until = max(self._until, now) + work * (self.seconds or usual)

    def record_ended(self, now: float, work: float, usual: float, *, done: bool) -> None:
        """Take in that some work has ended; `done` when it was answered, so that its time tells something."""
        self._under_way -= 1
        self._outstanding = max(0.0, self._outstanding - work) if self._under_way else 0.0
        if done:
            self._work = _MEMORY * self._work + work
            self._busy = _MEMORY * self._busy + max(0.0, now - self._since)
        self._since = now
        self._until = now + self._outstanding * (self.seconds or usual)

    def seconds_left(self, now: float) -> float:
        """When it will have done what it has, in seconds from now.

        What is overdue is expected to take as long again as it is overdue.
        """
        return abs(self._until - now) if self._under_way else 0.0


_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_BUSY_IN_A_ROW: Final = 3
_MOST_CHARGES: Final = 3
_TELLING_SECONDS: Final = 10.0
"""How often a server is asked how many requests run there and how many wait."""

_SHOWING: Final = 2
"""So many under way, one of which waits, show how many a server works on at the same time."""


def _nobody() -> "set[Server]":
    return set()


@dataclass(slots=True, eq=False)
class FleetCall:
    """A request on its way through a fleet, from the caller to an answer.

    Attributes:
        work: What it costs, in any unit that is the same for all calls.
        model: The served name that it asks for; None for any.
        low_priority: Whether it belongs to a batch, and gives way to what somebody waits for.
        repeatable: Whether another answer would be the same picture.
        first: Whether it goes before all that waits, as it was sent before.
        number: How many calls had been given away when it came.
        member: Who has it now.
        avoided: Who has failed at it in a way that will not change.
        deaths: The servers whose engine died while it was at work there; one twice that died twice.
        blamed_by: Who called it impossible.
        sent_to: What the server that has it served when it got it.
        budget: What its image may still cost, and what was tried for it.
        alone: Whether it is sent to a server that has nothing else to do: an engine may have died on it.
        refusals: How many times it was not taken for want of room.
        error: How its last attempt failed.
    """

    work: float
    model: str | None
    low_priority: bool
    repeatable: bool
    first: bool = False
    number: int = 0
    member: "Server | None" = None
    avoided: "set[Server]" = field(default_factory=_nobody)
    deaths: list[str] = field(default_factory=list[str])
    suspects: "Server | None" = None
    sent_to: Mapping[str, str | None] | None = None
    budget: GenerationBudget = field(default_factory=GenerationBudget)
    alone: bool = False
    refusals: int = 0
    error: OmniError | ImageError | None = None

    @property
    def label(self) -> str:
        """What log lines call it."""
        return self.budget.label or "request"


class Server:
    """One server of a fleet.

    Args:
        backend: The server.
        parallel: How many requests it works on at the same time, for whoever knows.
        ceiling: Never more than so many requests at once; None for no bound.

    Attributes:
        names: Under which names it serves its model, and what these stand for; empty until it was asked.
        asked: Whether it was asked for its model.
        version: Its version; None when it does not tell.
        note: In what it differs from the others of its fleet.
        last_error: How it failed last.
        probing: Whether it is asked for its health at this moment.
        seen: When it has shown last that it is well.
        charges: How many failures may be its own or the requests', until another server has tried them.
        parallel: How many requests it works on at the same time, as it told; None while it has not.
        others: How many requests of others it had when it was asked last; None where it does not tell.
        leaving: Called when it has done its last call; None while it stays.
    """

    def __init__(self, backend: Backend, *, parallel: int | None, ceiling: int | None) -> None:
        self.backend = backend
        self.limit: ConcurrencyLimiter = ConcurrencyLimiter(parallel, ceiling)
        self.circuit: CircuitBreaker = CircuitBreaker(self._log_change)
        self.pace: ServiceRate = ServiceRate()
        self.names: dict[str, str | None] = {}
        self.asked = False
        self.version: str | None = None
        self.note = ""
        self.last_error: OmniError | ImageError | None = None
        self.probing = False
        self.seen: float = 0.0
        self.charges: int = 0
        self.parallel = parallel
        self.others: int | None = None
        self.leaving: Callable[[], object] | None = None
        self._calls: dict[FleetCall, RequestToken] = {}
        self._suspects: list[FleetCall] = []
        self._paused_until = 0.0
        self._refusals = 0
        self._tells_at: float | None = -math.inf
        self._has_shown = False
        self._done = 0
        self._failed = 0

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self.backend.base_url

    @property
    def model(self) -> str | None:
        """The name that its requests must use."""
        return next(iter(self.names), None)

    @property
    def is_in(self) -> bool:
        """Whether it is given work."""
        return bool(self.names) and not self.circuit.is_open and self.leaving is None

    @property
    def under_way(self) -> int:
        """How many calls it has."""
        return self.limit.under_way

    @property
    def paused_until(self) -> float:
        """Until when it wants to be left alone."""
        return self._paused_until

    def has_room(self, now: float) -> bool:
        """Whether it may be given another call now."""
        if not self.is_in or now < self._paused_until or any(call.alone for call in self._calls):
            return False
        return not self.under_way if self.circuit.state == "trial" else self.limit.has_room

    def set_models(self, models: ModelList, version: str | None) -> None:
        """Take in what it serves."""
        self.names = {card.id: card.root for card in models.data}
        self.version = version

    def name_of(self, model: str | None, roots: Iterable[str]) -> str | None:
        """What a model is called here; None when it does not serve it.

        Args:
            model: The name in the request; None for whatever is served.
            roots: What that name stands for on the other servers.
        """
        if model is None or model in self.names:
            return self.model
        known = set(roots)
        return self.model if any(root in known for root in self.names.values()) else None

    def record_sent(self, call: FleetCall, now: float, usual: float) -> None:
        """Give it a call."""
        call.member = self
        call.sent_to = self.names
        self._calls[call] = self.limit.record_sent(now)
        self.pace.record_sent(now, call.work, usual)

    def record_answered(self, call: FleetCall, now: float, usual: float) -> None:
        """Take in that it made a picture."""
        self.limit.record_answered(self._calls.pop(call), now, call.work)
        self.pace.record_ended(now, call.work, usual, done=True)
        self.circuit.record_success(now)
        self.seen = now
        self._refusals = 0
        self._suspects = []
        self._done += 1
        self.release()

    def record_abandoned(self, call: FleetCall, now: float, usual: float) -> None:
        """Take in that whoever waited for a call has gone."""
        del self._calls[call]
        self.limit.record_aborted()
        self.pace.record_ended(now, call.work, usual, done=False)
        self.release()

    def record_failed(
        self, call: FleetCall, error: OmniError | ImageError, policy: ErrorPolicy, now: float, usual: float
    ) -> None:
        """Take in that it failed, and hold it against it as the verdict says."""
        if policy.deadly and not self._suspects:
            self._suspects = list(self._calls)[: self.limit.parallel or 1]
        del self._calls[call]
        self.pace.record_ended(now, call.work, usual, done=False)
        if policy.fault != "busy":
            self._failed += 1
            self.last_error = copy.copy(error)
        match policy.fault:
            case "busy":
                self._record_refused(error, now)
            case "bad_reply":
                self.limit.record_aborted()
                self.circuit.record_bad_reply(now)
            case "doubtful" | "down":
                self.limit.record_aborted()
                self.circuit.record_failure(now, surely=policy.fault == "down")
            case "lost":
                self.limit.record_aborted()
                self.circuit.doubt()
            case "suspect":
                self.limit.record_aborted()
                self.charges += 1
            case "none":
                self.limit.record_aborted()
        if policy.fault == "down":
            self.record_crash()
        self.release()

    def release(self) -> None:
        """Take in that a call has ended; the last one of a server that leaves lets it go."""
        if self.leaving is not None and not self.under_way:
            self.leaving()

    @property
    def is_suspect(self) -> bool:
        """Whether it has failed too often for more, until other servers have tried the same requests."""
        return self.charges >= (1 if self.circuit.state == "trial" else _MOST_CHARGES)

    def may_take(self, call: FleetCall) -> bool:
        """Whether it is given this call: one under charges gets only what was charged elsewhere."""
        return self.is_in and self.may_hold(call) and self not in call.avoided

    def may_hold(self, call: FleetCall) -> bool:
        """Whether nothing that it is charged with keeps this call from it."""
        return not self.is_suspect or call.suspects is not None

    def clear_suspicion(self) -> None:
        """Drop a charge: it was the request's fault, or nobody will know."""
        self.charges -= 1

    def record_false_refusal(self, now: float) -> None:
        """Take in that another server has done what this one called impossible."""
        self.charges -= 1
        self.circuit.record_failure(now)

    def record_crash(self) -> None:
        """Hold against the calls that were at work when the server died that it did."""
        for call in self._suspects:
            call.deaths.append(self.url)
        self._suspects = []

    def wants_to_tell(self, now: float) -> bool:
        """Whether it is time to ask it how many requests run there and how many wait."""
        shows = self._done > 0 and self.limit.under_way >= _SHOWING
        if self._tells_at is None or (now < self._tells_at and not (shows and not self._has_shown)):
            return False
        self._has_shown |= shows
        self._tells_at = now + _TELLING_SECONDS
        return True

    def set_request_counts(self, running: int | None, waiting: int | None, *, own: int) -> None:
        """Take in how many requests it has; when it does not tell, it is not asked again.

        Args:
            running: How many run.
            waiting: How many wait.
            own: How many of them are ours.
        """
        if running is None or waiting is None:
            self._tells_at = None
            return
        self.others = max(0, running + waiting - own)
        if running > 0:
            self.parallel = running if waiting else max(running, self.parallel or 1)

    def observe_parallelism(self, running: int | None, waiting: int | None) -> None:
        """Take in how many requests it works on at the same time, where the numbers show that."""
        if running and waiting and self._done and running != self.limit.parallel:
            self.limit.tell(running)

    def record_passed_through(self) -> None:
        """Take in that it answered a call that was only passed on."""
        self._done += 1

    def report(self) -> ServerReport:
        """What is known of it."""
        return ServerReport(
            url=self.url,
            state=self.circuit.state if self.names or self.circuit.is_open else "unknown",
            model=self.model,
            version=self.version,
            under_way=self.under_way,
            limit=self.limit.value,
            parallel=self.parallel,
            others=self.others,
            done=self._done,
            failed=self._failed,
            error=self.last_error if self.circuit.is_open else None,
            note=self.note,
        )

    def _log_change(self, before: CircuitState, after: CircuitState) -> None:
        _logger.debug("Server %s: circuit breaker goes from %s to %s", self.url, before, after)
        if after == "open":
            why = f": {error_name(self.last_error)}" if self.last_error else ""
            _logger.info("Server %s gets no requests until it is healthy%s", self.url, why)
        elif after == "closed":
            _logger.info("Server %s gets requests again", self.url)

    def _record_refused(self, error: OmniError | ImageError, now: float) -> None:
        self.limit.record_refused()
        self._refusals += 1
        asked = error.retry_after_seconds if isinstance(error, ServerBusy) else None
        pause = max(asked or 0.0, _PAUSE_SECONDS * 2.0 ** min(self._refusals - 1, 6))
        self._paused_until = now + min(pause, _LONGEST_PAUSE_SECONDS)
        if self._refusals >= _BUSY_IN_A_ROW and not self.under_way:
            self.last_error = copy.copy(error)
            self.circuit.record_failure(now, surely=True)


async def introduction(backend: Backend) -> tuple[ModelList, str | None]:
    """Ask a server for its models and its version, None where it has none to tell.

    Raises:
        OmniError: It does not tell its models.
    """
    models = await backend.get_models()
    if not models.data:
        raise BadReply(f"{backend.base_url} lists no model at /v1/models.")
    try:
        return models, await backend.get_version()
    except (BadReply, ServerRefused):
        return models, None


def usual_seconds(members: Iterable[Server]) -> float:
    """Seconds for a unit of work on the middle one of the servers whose pace is known; 1 when none is."""
    known = sorted(seconds for member in members if (seconds := member.pace.seconds) is not None)
    return known[len(known) // 2] if known else 1.0
