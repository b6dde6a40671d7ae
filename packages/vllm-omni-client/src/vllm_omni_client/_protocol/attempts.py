"""Attempts: what one call has tried so far, what it cost, and whether another one follows."""

from collections.abc import Callable
from dataclasses import replace

from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._protocol.retry import History, Policy, Stop, Wait, decide, depends_on_health, is_stale
from vllm_omni_client._protocol.retry_budget import VAIN_QUESTION, RetryBudget
from vllm_omni_client.errors import EngineDead, Exchange, FailedAttempt, GpuSpent, OmniError, ServerError
from vllm_omni_client.generation_budget import GenerationBudget


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
        image: The budget of the image that is asked for; None for one of its own.

    Attributes:
        policy: What is allowed.
        server: The server's base URL, without credentials.
        trace: The connection of the attempt that is made now.
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
        self._made = 0
        self._exchange = Exchange(method=method, url=url, attempts=0)
        self._clock = clock
        self._jitter = jitter
        self._began = clock()
        self._costly_retries = 0
        self._stale_resends = 0
        self._healthy: bool | None = None
        self._next: Wait | Stop = Stop()

    @property
    def failures(self) -> tuple[FailedAttempt, ...]:
        """The attempts for this image that failed and were followed by another one, over all layers."""
        return self._image.failures

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
        self._made += 1
        self._image.begin(self._clock)
        self._healthy = None
        self.trace = ConnectionTrace()

    def depend_on_health(self, error: OmniError) -> bool:
        """Say whether `/health` has to be asked before it can be decided what an error means."""
        return not self.is_stale(error) and depends_on_health(error, self.policy, tokens=self._budget.tokens)

    def is_stale(self, error: OmniError) -> bool:
        """Say whether only the connection was at fault, and the request is sent again at once."""
        left = self._image.left - (self._cost(error) != "no")
        return is_stale(error, generations_left=left, stale_resends=self._stale_resends)

    def diagnose(self, error: OmniError, *, healthy: bool) -> OmniError:
        """Take in what `/health` said after a failure; a server error without health is a dead engine."""
        self._healthy = healthy
        if not healthy:
            self._budget.take(VAIN_QUESTION)
        if healthy or not isinstance(error, ServerError) or error.server_state != "failing":
            return error
        dead = EngineDead(
            f"{error.message} (and /health does not answer 200)", status=error.status, exchange=error.exchange
        )
        dead.__cause__ = error
        return dead

    def sign(self, error: OmniError) -> OmniError:
        """Write what was tried and what it cost, over all attempts, on an error that may leave the client."""
        last, elapsed = error.exchange, self.elapsed_seconds
        self._image.fail(error, self._began + elapsed, cost=self._cost(error))
        exchange = replace(
            self._exchange,
            status=last.status if last else None,
            request_id=last.request_id if last else None,
            attempts=self._image.attempts,
            generations=self._image.spent,
            elapsed_seconds=elapsed,
        )
        return error.after(exchange, gpu_spent=self._image.gpu_spent, failures=self.failures)

    def record_success(self) -> None:
        """Write down that the call got its answer."""
        self._budget.credit()
        self._image.charge("no" if self._exchange.method == "GET" else "yes")

    def _cost(self, error: OmniError) -> GpuSpent:
        return "no" if self._exchange.method == "GET" else error.gpu_spent

    def may_follow(self, error: BaseException) -> bool:
        """Say whether another attempt follows a failure; whatever is no OmniError ends the call."""
        self._next = self._decide(error) if isinstance(error, OmniError) else Stop()
        if isinstance(self._next, Wait):
            self._follow(self._next)
        return isinstance(self._next, Wait)

    def _follow(self, wait: Wait) -> None:
        self._costly_retries += wait.costly
        self._stale_resends += wait.stale
        self._budget.take(wait.tokens)
        self._image.follow(waited_seconds=wait.seconds)

    def wait_seconds(self, _: object) -> float:
        """Return the wait that `may_follow` decided on."""
        return self._next.seconds if isinstance(self._next, Wait) else 0.0

    def _decide(self, error: OmniError) -> Wait | Stop:
        history = History(
            attempts=self._made,
            costly_retries=self._costly_retries,
            generations_left=self._image.left,
            stale_resends=self._stale_resends,
            elapsed_seconds=self.elapsed_seconds,
            healthy=self._healthy,
            tokens=self._budget.tokens,
        )
        return decide(error, policy=self.policy, history=history, jitter=self._jitter())
