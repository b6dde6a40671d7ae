"""GenerationBudget: limit and record the requests for one image, over all layers that retry.

The client, a fleet of servers and a batch each retry requests. Whoever requests an image creates one budget
and passes it down; all layers spend from it and record in it. So at most two requests for an image may use
GPU time, and every error and receipt reports all requests that were made for it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from vllm_omni_client.errors import Exchange, FailedAttempt, GpuSpent, OmniError

MOST_GENERATIONS: Final = 2
"""How many requests for one image may use GPU time: one, and one replacement."""

_COST_ORDER: Final[Mapping[GpuSpent, int]] = {"no": 0, "unknown": 1, "yes": 2}

_EARLIER: Final = FailedAttempt(
    error="Interrupted", reason="The process that sent the request ended.", waited_seconds=0.0
)


class GenerationBudget:
    """The budget and the attempt record of one image. Do not share it between images.

    Args:
        left: How many requests may use GPU time.
        label: What log lines call the image; "" for nothing.
        earlier: How many requests an earlier process made for the image; they may have used GPU time.

    Attributes:
        left: How many requests may still use GPU time, 0 or more. A request that was never sent, or was
            refused before any work, does not count.
        spent: How many requests may have used GPU time.
        attempts: How often the request was sent, or an attempt was made to send it.
        gpu_spent: Whether GPU time was probably used.
        failures: The failed attempts that were followed by another one.
        seconds: How long the failed calls for the image took so far; they share one time limit.
        seconds_left: What is left of that time limit; infinity until a call with a limit has failed.
    """

    def __init__(self, left: int = MOST_GENERATIONS, *, label: str = "", earlier: int = 0) -> None:
        self.label: str = label
        self.left: int = left
        self.spent: int = earlier
        self.attempts: int = earlier
        self.gpu_spent: GpuSpent = "unknown" if earlier else "no"
        self.failures: tuple[FailedAttempt, ...] = (_EARLIER,) * earlier
        self.restart_clock()
        self._pending: tuple[FailedAttempt, float] | None = None
        self._is_charged = True

    def __repr__(self) -> str:
        return f"GenerationBudget(left={self.left}, spent={self.spent}, attempts={self.attempts})"

    def restart_clock(self) -> None:
        """Give the calls that follow the complete time limit again."""
        self.seconds: float = 0.0
        self.seconds_left: float = math.inf

    def record_time(self, seconds: float, *, timeout: float) -> None:
        """Record how long the image has taken so far, out of the time limit."""
        self.seconds = seconds
        self.seconds_left = max(0.0, timeout - seconds)

    def start_attempt(self, clock: Callable[[], float]) -> None:
        """Record that an attempt starts now; an earlier failure has then been followed by another attempt."""
        if self._pending is not None:
            self.record_retry(waited_seconds=max(0.0, clock() - self._pending[1]))
        self.attempts += 1
        self._is_charged = False

    def charge(self, cost: GpuSpent) -> None:
        """Record what the attempt cost, as far as is known; an attempt is charged only once."""
        self.gpu_spent = max((self.gpu_spent, cost), key=_COST_ORDER.__getitem__)
        if cost != "no" and not self._is_charged:
            self._spend(1)

    def record_failure(self, error: Exception, now: float, *, cost: GpuSpent) -> None:
        """Record that the attempt failed, and what it cost."""
        self.charge(cost)
        reason = error.message if isinstance(error, OmniError) else str(error)
        self._pending = FailedAttempt(error=type(error).__name__, reason=reason, waited_seconds=0.0), now

    def add_attempts_of(self, error: OmniError) -> None:
        """Add the retries that a client without this budget made on its own before it raised the error."""
        if error.exchange is not None and error.exchange.attempts > 1:
            self.attempts += error.exchange.attempts - 1
            self.failures = (*self.failures, *error.failures)
            self._spend(max(0, error.exchange.generations - (error.gpu_spent != "no")))

    def annotate(self, error: OmniError, exchange: Exchange | None) -> OmniError:
        """Attach to an error what was tried for the image, and what that cost, over all layers.

        Args:
            error: The error; it is returned.
            exchange: The last exchange for the image; None if there was none.
        """
        if exchange is not None:
            seconds = max(exchange.elapsed_seconds, self.seconds)
            exchange = replace(
                exchange, attempts=self.attempts, generations=self.spent, elapsed_seconds=seconds
            )
        return error.with_attempts(exchange, gpu_spent=self.gpu_spent, failures=self.failures)

    def record_retry(self, *, waited_seconds: float) -> None:
        """Record that another attempt follows the failed one after a wait."""
        if self._pending is not None:
            failed, _ = self._pending
            self._pending = None
            self.failures = (
                *self.failures,
                FailedAttempt(error=failed.error, reason=failed.reason, waited_seconds=waited_seconds),
            )

    def _spend(self, generations: int) -> None:
        self._is_charged = True
        self.spent += generations
        self.left = max(0, self.left - generations)
