"""Attempts: what one call has tried so far, what it cost, and whether another one follows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from vllm_omni_client._budget import VAIN_QUESTION, RetryBudget
from vllm_omni_client._retry import History, Policy, Stop, Wait, decide, depends_on_health
from vllm_omni_client._wire import Wire
from vllm_omni_client.errors import EngineDead, Exchange, GpuSpent, OmniError, ServerError
from vllm_omni_client.receipt import FailedAttempt

_COST_ORDER: Final[Mapping[GpuSpent, int]] = {"no": 0, "unknown": 1, "yes": 2}


class Attempts:
    """The record of one call; made for it and thrown away with it.

    Args:
        method: The HTTP method.
        url: The address that is asked.
        policy: What is allowed.
        budget: The retries that the client may still make.
        clock: Seconds on a clock that never goes back.
        jitter: Draws a number evenly from [0, 1).
        server: The server's base URL, without credentials.

    Attributes:
        policy: What is allowed.
        server: The server's base URL, without credentials.
        wire: The connection of the attempt that is made now.
        failures: The attempts that failed and were followed by another one.
    """

    def __init__(
        self,
        *,
        method: str,
        url: str,
        policy: Policy,
        budget: RetryBudget,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        server: str = "",
    ) -> None:
        self.policy = policy
        self.server = server
        self.wire: Wire = Wire()
        self.failures: tuple[FailedAttempt, ...] = ()
        self._budget = budget
        self._exchange = Exchange(method=method, url=url, attempts=0)
        self._clock = clock
        self._jitter = jitter
        self._began = clock()
        self._costly_retries = 0
        self._gpu_spent: GpuSpent = "no"
        self._healthy: bool | None = None
        self._next: Wait | Stop = Stop()

    @property
    def elapsed_seconds(self) -> float:
        """Since the call began."""
        return self._clock() - self._began

    @property
    def remaining_seconds(self) -> float:
        """Until the total deadline; 0 after it."""
        return max(0.0, self.policy.timeout_seconds - self.elapsed_seconds)

    def begin(self) -> None:
        """Write down that an attempt is made now."""
        self._exchange = replace(self._exchange, attempts=self._exchange.attempts + 1)
        self._healthy = None
        self.wire = Wire()

    def depend_on_health(self, error: OmniError) -> bool:
        """Say whether `/health` has to be asked before it can be decided what an error means."""
        return depends_on_health(error, self.policy, tokens=self._budget.tokens)

    def diagnosed(self, error: OmniError, *, healthy: bool) -> OmniError:
        """Take in what `/health` said after a failure; a server error without health is a dead engine."""
        self._healthy = healthy
        if not healthy:
            self._budget.take(VAIN_QUESTION)
        if healthy or not isinstance(error, ServerError) or isinstance(error, EngineDead):
            return error
        dead = EngineDead(
            f"{error.message} (and /health does not answer 200)", status=error.status, exchange=error.exchange
        )
        dead.__cause__ = error
        return dead

    def signed(self, error: OmniError) -> OmniError:
        """Write what was tried and what it cost, over all attempts, on an error that may leave the client."""
        last = error.exchange
        cost = self._cost(error)
        self._gpu_spent = max((self._gpu_spent, cost), key=_COST_ORDER.__getitem__)
        exchange = replace(
            self._exchange,
            status=last.status if last else None,
            request_id=last.request_id if last else None,
            elapsed_seconds=self.elapsed_seconds,
        )
        return error.after(exchange, gpu_spent=self._gpu_spent, failures=self.failures)

    def succeeded(self) -> None:
        """Write down that the call got its answer."""
        self._budget.succeeded()

    def _cost(self, error: OmniError) -> GpuSpent:
        return "no" if self._exchange.method == "GET" else error.gpu_spent

    def may_follow(self, error: BaseException) -> bool:
        """Say whether another attempt follows a failure; whatever is no OmniError ends the call."""
        self._next = self._decided(error) if isinstance(error, OmniError) else Stop()
        if isinstance(self._next, Wait) and isinstance(error, OmniError):
            self._follow(error, self._next)
        return isinstance(self._next, Wait)

    def _follow(self, error: OmniError, wait: Wait) -> None:
        self._costly_retries += wait.costly
        self._budget.take(wait.tokens)
        failed = FailedAttempt(error=type(error).__name__, reason=error.message, waited_seconds=wait.seconds)
        self.failures = (*self.failures, failed)

    def wait_seconds(self, _: object) -> float:
        """Return the wait that `may_follow` decided on."""
        return self._next.seconds if isinstance(self._next, Wait) else 0.0

    def _decided(self, error: OmniError) -> Wait | Stop:
        history = History(
            attempts=self._exchange.attempts,
            costly_retries=self._costly_retries,
            elapsed_seconds=self.elapsed_seconds,
            healthy=self._healthy,
            tokens=self._budget.tokens,
        )
        return decide(error, policy=self.policy, history=history, jitter=self._jitter())
