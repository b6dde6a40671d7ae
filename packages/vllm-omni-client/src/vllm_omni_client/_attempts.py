"""Attempts: what one call has tried so far, what it cost, and whether another one follows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from vllm_omni_client._retry import History, Policy, Stop, Wait, decide
from vllm_omni_client._wire import Wire
from vllm_omni_client.errors import EngineDead, Exchange, GpuSpent, OmniError, ServerError

_COST_ORDER: Final[Mapping[GpuSpent, int]] = {"no": 0, "unknown": 1, "yes": 2}


class Attempts:
    """The record of one call; made for it and thrown away with it.

    Args:
        method: The HTTP method.
        url: The address that is asked.
        policy: What is allowed.
        clock: Seconds on a clock that never goes back.
        jitter: Draws a number evenly from [0, 1).

    Attributes:
        policy: What is allowed.
        wire: The connection of the attempt that is made now.
    """

    def __init__(
        self,
        *,
        method: str,
        url: str,
        policy: Policy,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.policy = policy
        self.wire = Wire()
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

    def diagnosed(self, error: OmniError, *, healthy: bool) -> OmniError:
        """Take in what `/health` said after a failure; a server error without health is a dead engine."""
        self._healthy = healthy
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
        return error.after(exchange, gpu_spent=self._gpu_spent)

    def _cost(self, error: OmniError) -> GpuSpent:
        return "no" if self._exchange.method == "GET" else error.gpu_spent

    def may_follow(self, error: BaseException) -> bool:
        """Say whether another attempt follows a failure; whatever is no OmniError ends the call."""
        self._next = self._decided(error) if isinstance(error, OmniError) else Stop()
        if isinstance(self._next, Wait) and self._next.costly:
            self._costly_retries += 1
        return isinstance(self._next, Wait)

    def wait_seconds(self, _: object) -> float:
        """Return the wait that `may_follow` decided on."""
        return self._next.seconds if isinstance(self._next, Wait) else 0.0

    def _decided(self, error: OmniError) -> Wait | Stop:
        history = History(
            attempts=self._exchange.attempts,
            costly_retries=self._costly_retries,
            elapsed_seconds=self.elapsed_seconds,
            healthy=self._healthy,
        )
        return decide(error, policy=self.policy, history=history, jitter=self._jitter())
