"""Track one server of a fleet: its requests, service rate, concurrency limit and circuit breaker."""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vllm_omni_client.errors import BadReply, OmniError, ServerBusy, ServerRefused
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ModelList

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.errors import ImageError
from vllm_image_core.fleet.backend import Backend
from vllm_image_core.fleet.circuit_breaker import CircuitBreaker, CircuitState
from vllm_image_core.fleet.concurrency_limit import FIRST, FIRST_ALONE, ConcurrencyLimiter, RequestToken
from vllm_image_core.fleet.error_policy import ErrorPolicy
from vllm_image_core.fleet.service_rate import ServiceRate
from vllm_image_core.text import error_name

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """A report on one server of a fleet.

    Attributes:
        url: Its base URL, without credentials.
        state: "closed": it gets requests; "open": it gets none, and its health is probed; "trial": it was
            let back in on trial; "unknown": it has not been asked yet.
        model: The model that it serves; None until it reports one.
        version: Its version; None until it reports one.
        in_progress: Number of requests it has now.
        limit: Number of requests it may have.
        parallel: Number of requests it runs at the same time, as it reported; None until it does.
        others: Number of other clients' requests, running and waiting, when it was last asked; None if it
            does not report them.
        done: Number of requests it answered.
        failed: Number of requests it failed.
        error: Why it gets no requests; None if it does.
        note: How it differs from the other servers; "" if it does not.
    """

    url: str
    state: CircuitState | Literal["unknown"]
    model: str | None
    version: str | None
    in_progress: int
    limit: int
    parallel: int | None
    others: int | None
    done: int
    failed: int
    error: OmniError | ImageError | None
    note: str


_STATES: Final = {
    "closed": "in use",
    "open": "left out",
    "trial": "on trial",
    "unknown": "not asked yet",
}


class ServerList(Displayed, tuple[ServerReport, ...]):
    """Reports on servers, shown as a table."""

    __slots__ = ()

    def _card(self) -> Card:
        return Card(
            title=f"{len(self)} {'server' if len(self) == 1 else 'servers'}",
            columns=("server", "state", "model", "in progress", "done", "failed", "note"),
            rows=[
                (
                    each.url,
                    _STATES[each.state],
                    each.model,
                    each.in_progress,
                    each.done,
                    each.failed,
                    each.note or (str(each.error) if each.error else None),
                )
                for each in self
            ],
        )


_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_REQUESTED_SECONDS: Final = 120.0
"""The longest pause that a server gets because it asked for it; a single client gives up beyond it."""

_BUSY_IN_A_ROW: Final = 3
_MOST_CHARGES: Final = 3
_COUNT_SECONDS: Final = 10.0
"""How often a server is asked for the number of its running and waiting requests."""

_SHOWING: Final = 2
"""With this many requests, one of which waits, a server shows how many it runs at the same time."""


def _no_servers() -> "set[Server]":
    return set()


@dataclass(slots=True, eq=False)
class FleetCall:
    """A request on its way through a fleet, from the caller to an answer.

    Its cost is in a unit that is the same for all calls, its model None for any. `avoided` servers failed it
    in a way that will not change; `deaths` lists those whose engine died while running it; `suspects` is at
    fault if another server succeeds. It must run `alone` if an engine may have died on it, and goes `first`
    if it was sent before.
    """

    work: float
    model: str | None
    low_priority: bool
    repeatable: bool
    first: bool = False
    number: int = 0
    server: "Server | None" = None
    avoided: "set[Server]" = field(default_factory=_no_servers)
    deaths: list[str] = field(default_factory=list[str])
    suspects: "Server | None" = None
    sent_to: Mapping[str, str | None] | None = None
    budget: GenerationBudget = field(default_factory=GenerationBudget)
    alone: bool = False
    refusals: int = 0
    error: OmniError | ImageError | None = None

    @property
    def label(self) -> str:
        """Its name in log lines."""
        return self.budget.label or "request"


class Server:
    """One server of a fleet.

    `parallel` requests run at the same time, None if that is not known; `ceiling` is the maximum at once,
    None for none.

    A server that is `alone` gets all requests, so it does no harm to send it a few too many at first.

    `names` are empty until it was asked for its model; `seen` is when it last showed that it is healthy;
    `suspicions` are failures that may be its own or the requests' fault, until another server tries.
    `leaving` is called when its last call has ended; None unless it is being removed.
    """

    def __init__(
        self, backend: Backend, *, parallel: int | None, ceiling: int | None, alone: bool = False
    ) -> None:
        self.backend = backend
        self.limit: ConcurrencyLimiter = ConcurrencyLimiter(
            parallel, ceiling, first=FIRST_ALONE if alone else FIRST
        )
        self.circuit: CircuitBreaker = CircuitBreaker(self._log_change)
        self.service_rate: ServiceRate = ServiceRate()
        self.names: dict[str, str | None] = {}
        self.asked = False
        self.version: str | None = None
        self.note = ""
        self.last_error: OmniError | ImageError | None = None
        self.probing = False
        self.seen: float = 0.0
        self.suspicions: int = 0
        self.parallel = parallel
        self.others: int | None = None
        self.leaving: Callable[[], object] | None = None
        self._calls: dict[FleetCall, RequestToken] = {}
        self._suspects: list[FleetCall] = []
        self.paused_until: float = 0.0
        self._refusals = 0
        self._ask_at: float | None = -math.inf
        self._has_shown_parallel = False
        self._done = 0
        self._failed = 0

    @property
    def url(self) -> str:
        """Its base URL, without credentials."""
        return self.backend.base_url

    @property
    def model(self) -> str | None:
        """The model name that its requests must use."""
        return next(iter(self.names), None)

    @property
    def is_in(self) -> bool:
        """Whether it gets requests."""
        return bool(self.names) and not self.circuit.is_open and self.leaving is None

    @property
    def in_progress(self) -> int:
        """Number of calls it has."""
        return self.limit.in_progress

    def has_room(self, now: float) -> bool:
        """Return whether it may get another call now."""
        if not self.is_in or now < self.paused_until:
            return False
        has_room = not self.in_progress if self.circuit.state == "trial" else self.limit.has_room
        return has_room and not any(call.alone for call in self._calls)

    def set_models(self, models: ModelList, version: str | None) -> None:
        """Record which models it serves."""
        self.names = {card.id: card.root for card in models.data}
        self.version = version

    def name_of(self, model: str | None, roots: Iterable[str]) -> str | None:
        """Return this server's name for a model; None if it does not serve it.

        None stands for any model; `roots` are what that name stands for on the other servers.
        """
        if model is None or model in self.names:
            return self.model
        known = set(roots)
        return self.model if any(root in known for root in self.names.values()) else None

    def record_sent(self, call: FleetCall, now: float, usual: float) -> None:
        """Record that it was sent a call."""
        call.server = self
        call.sent_to = self.names
        self._calls[call] = self.limit.record_sent(now)
        self.service_rate.record_sent(now, call.work, usual)

    def record_answered(self, call: FleetCall, now: float, usual: float) -> None:
        """Record that it answered a call."""
        self.limit.record_answered(self._calls.pop(call), now, call.work)
        self.service_rate.record_ended(now, call.work, usual, done=True)
        self.circuit.record_success(now)
        self.seen = now
        self._refusals = 0
        self._suspects = []
        self._done += 1
        self.release()

    def record_abandoned(self, call: FleetCall, now: float, usual: float) -> None:
        """Record that the caller has given up on a call."""
        del self._calls[call]
        self.limit.record_aborted()
        self.service_rate.record_ended(now, call.work, usual, done=False)
        self.release()

    def record_failed(
        self, call: FleetCall, error: OmniError | ImageError, policy: ErrorPolicy, now: float, usual: float
    ) -> None:
        """Record that it failed a call, and count it against the server as the policy says."""
        if policy.deadly and not self._suspects:
            self._suspects = list(self._calls)[: self.limit.parallel or 1]
        del self._calls[call]
        self.service_rate.record_ended(now, call.work, usual, done=False)
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
                self.circuit.mark_doubtful()
            case "suspect":
                self.limit.record_aborted()
                self.suspicions += 1
            case "none":
                self.limit.record_aborted()
        if policy.fault == "down":
            self.record_crash()
        self.release()

    def release(self) -> None:
        """Record that a call has ended; the last call of a server being removed releases it."""
        if self.leaving is not None and not self.in_progress:
            self.leaving()

    @property
    def is_suspect(self) -> bool:
        """Whether it has failed too often to get more, until other servers have tried the same requests."""
        return self.suspicions >= (1 if self.circuit.state == "trial" else _MOST_CHARGES)

    def may_take(self, call: FleetCall) -> bool:
        """Return whether it may get this call; a suspect gets only calls that already failed elsewhere."""
        return self.is_in and self.may_hold(call) and self not in call.avoided

    def may_hold(self, call: FleetCall) -> bool:
        """Return whether it may get this call as far as suspicion is concerned."""
        return not self.is_suspect or call.suspects is not None

    def clear_suspicion(self) -> None:
        """Drop a charge: the request was at fault, or it cannot be known."""
        self.suspicions -= 1

    def record_false_refusal(self, now: float) -> None:
        """Record a failure, because another server did a request that this one had failed."""
        self.suspicions -= 1
        self.circuit.record_failure(now)

    def record_crash(self) -> None:
        """Record on each call that was running when the server died that it may be the cause."""
        for call in self._suspects:
            call.deaths.append(self.url)
        self._suspects = []

    def should_ask_counts(self, now: float) -> bool:
        """Return whether it is time to ask for the number of its running and waiting requests."""
        shows = self._done > 0 and self.limit.in_progress >= _SHOWING
        if self._ask_at is None or (now < self._ask_at and not (shows and not self._has_shown_parallel)):
            return False
        self._has_shown_parallel |= shows
        self._ask_at = now + _COUNT_SECONDS
        return True

    def set_request_counts(self, running: int | None, waiting: int | None, *, own: int) -> None:
        """Record how many requests it has; if it does not report them, it is not asked again.

        `own` of them are ours.
        """
        if running is None or waiting is None:
            self._ask_at = None
            return
        self.others = max(0, running + waiting - own)
        if running > 0:
            self.parallel = running if waiting else max(running, self.parallel or 1)

    def observe_parallelism(self, running: int | None, waiting: int | None) -> None:
        """Record how many requests it runs at the same time, if the numbers show it."""
        if running and waiting and self._done and running != self.limit.parallel:
            self.limit.set_parallel(running)

    def record_passed_through(self) -> None:
        """Record that it answered a call that bypassed the scheduler."""
        self._done += 1

    def report(self) -> ServerReport:
        """Return a report on it."""
        state = self.circuit.state
        return ServerReport(
            url=self.url,
            state=state if self.names or state == "open" else "unknown",
            model=self.model,
            version=self.version,
            in_progress=self.in_progress,
            limit=self.limit.value,
            parallel=self.parallel,
            others=self.others,
            done=self._done,
            failed=self._failed,
            error=self.last_error if state == "open" else None,
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
        usual = min(_PAUSE_SECONDS * 2.0 ** min(self._refusals - 1, 6), _LONGEST_PAUSE_SECONDS)
        self.paused_until = now + max(usual, min(asked or 0.0, LONGEST_REQUESTED_SECONDS))
        if self._refusals >= _BUSY_IN_A_ROW and not self.in_progress:
            self.last_error = copy.copy(error)
            self.circuit.record_failure(now, surely=True)


async def models_and_version(backend: Backend) -> tuple[ModelList, str | None]:
    """Ask a server for its models and its version; the version is None if it reports none.

    Raises:
        OmniError: It does not report its models.
    """
    models = await backend.get_models()
    if not models.data:
        raise BadReply(f"{backend.base_url} lists no model at /v1/models.")
    try:
        return models, await backend.get_version()
    except (BadReply, ServerRefused):
        return models, None


def usual_seconds(members: Iterable[Server]) -> float:
    """Return the median seconds per unit of work over the servers where it is known; 1 if there are none."""
    known = sorted(seconds for member in members if (seconds := member.service_rate.seconds) is not None)
    return known[len(known) // 2] if known else 1.0
