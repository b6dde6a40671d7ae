"""Record the attempts of one call and their cost, and decide whether to retry."""

import logging
from collections.abc import Callable
from dataclasses import replace

from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._protocol.retry import History, Policy, Stop, Wait, decide, depends_on_health, is_stale
from vllm_omni_client._protocol.retry_budget import WASTED_HEALTH_CHECK, RetryBudget
from vllm_omni_client.errors import EngineDead, Exchange, FailedAttempt, GpuSpent, OmniError, ServerError
from vllm_omni_client.generation_budget import GenerationBudget

_logger = logging.getLogger("vllm_omni_client")  # the name that a user of the package looks for


class Attempts:
    """The attempt record of one call; it lives as long as the call.

    Without an image's budget, the call gets its own. The clock is monotonic, in seconds; jitter is in [0, 1).
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
        image: GenerationBudget | None = None,
    ) -> None:
        self.policy = policy
        self.server = server
        self.trace: ConnectionTrace = ConnectionTrace()
        self._image = image or GenerationBudget()
        self._budget = budget
        self._started = 0
        self._exchange = Exchange(method=method, url=url, attempts=0)
        self._call = f"{self._image.label}: {method} {url}" if self._image.label else f"{method} {url}"
        self._clock = clock
        self._jitter = jitter
        self._began = clock() - self._image.seconds
        self._costly_retries = 0
        self._stale_resends = 0
        self._healthy: bool | None = None
        self._next: Wait | Stop = Stop()

    @property
    def failures(self) -> tuple[FailedAttempt, ...]:
        """The failed attempts for this image that were followed by another one, over all layers."""
        return self._image.failures

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the call began, and those of earlier calls for the same image."""
        return self._clock() - self._began

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the total deadline; 0 after it."""
        return max(0.0, self.policy.timeout_seconds - self.elapsed_seconds)

    def begin(self) -> None:
        """Record that an attempt starts now."""
        self._started += 1
        self._image.start_attempt(self._clock)
        _logger.debug("%s: attempt %d", self._call, self._started)
        self._healthy = None
        self.trace = ConnectionTrace()

    def depends_on_health(self, error: OmniError) -> bool:
        """Say whether the meaning of an error depends on what `/health` answers."""
        return not self.is_stale(error) and depends_on_health(error, self.policy, tokens=self._budget.tokens)

    def is_stale(self, error: OmniError) -> bool:
        """Say whether a stale connection caused the error, so that the request is sent again immediately."""
        left = self._image.left - (self._cost(error) != "no")
        return is_stale(error, generations_left=left, stale_resends=self._stale_resends)

    def diagnose(self, error: OmniError, *, healthy: bool) -> OmniError:
        """Record what `/health` answered after a failure; an unhealthy server error means a dead engine."""
        self._healthy = healthy
        if not healthy:
            self._budget.take(WASTED_HEALTH_CHECK)
        if healthy or not isinstance(error, ServerError) or error.server_state != "failing":
            return error
        dead = EngineDead(
            f"{error.message} (and /health does not return 200)", status=error.status, exchange=error.exchange
        )
        dead.__cause__ = error
        return dead

    def annotate(self, error: OmniError) -> OmniError:
        """Attach what was tried and what it cost, over all attempts, to an error that the caller may see."""
        last, elapsed = error.exchange, self.elapsed_seconds
        self._image.record_failure(error, self._began + elapsed, cost=self._cost(error))
        self._image.record_time(elapsed, timeout=self.policy.timeout_seconds)
        status, request_id = (last.status, last.request_id) if last else (None, None)
        return self._image.annotate(error, replace(self._exchange, status=status, request_id=request_id))

    def record_success(self) -> None:
        """Record that the call was answered."""
        self._budget.credit()
        self._image.charge("no" if self._exchange.method == "GET" else "yes")
        _logger.debug("%s: attempt %d was answered", self._call, self._started)

    def _cost(self, error: OmniError) -> GpuSpent:
        return "no" if self._exchange.method == "GET" else error.gpu_spent

    def decide_retry(self, error: BaseException) -> bool:
        """Decide whether another attempt follows a failure; only after an OmniError can one follow."""
        self._next = self._decide(error) if isinstance(error, OmniError) else Stop()
        name = _name(error)
        if isinstance(self._next, Wait):
            message = "%s: attempt %d failed: %s; retrying in %.1f s"
            _logger.info(message, self._call, self._started, name, self._next.seconds)
            self._follow(self._next)
        else:
            _logger.debug("%s: attempt %d failed: %s; not retried", self._call, self._started, name)
        return isinstance(self._next, Wait)

    def _follow(self, wait: Wait) -> None:
        self._costly_retries += wait.costly
        self._stale_resends += wait.stale
        self._budget.take(wait.tokens)
        self._image.record_retry(waited_seconds=wait.seconds)

    def wait_seconds(self, _: object) -> float:
        """Return the wait that `decide_retry` chose, in seconds."""
        return self._next.seconds if isinstance(self._next, Wait) else 0.0

    def _decide(self, error: OmniError) -> Wait | Stop:
        history = History(
            attempts=self._started,
            costly_retries=self._costly_retries,
            generations_left=self._image.left,
            stale_resends=self._stale_resends,
            elapsed_seconds=self.elapsed_seconds,
            healthy=self._healthy,
            tokens=self._budget.tokens,
        )
        return decide(error, policy=self.policy, history=history, jitter=self._jitter())


def _name(error: BaseException) -> str:
    """Return what a log line calls an error: never its text, which may repeat the prompt."""
    status = error.exchange.status if isinstance(error, OmniError) and error.exchange else None
    return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__
