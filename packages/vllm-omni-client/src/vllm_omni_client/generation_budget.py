"""GenerationBudget: what one image may still cost, and what was tried for it, over all layers that repeat.

A client, a fleet of servers and a batch each repeat requests. Whoever begins an image makes one of these and
hands it down; all of them spend from it and write into it. So an image is sent at most twice where it may
have cost GPU time, and every error and receipt tells all requests that were made for it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from vllm_omni_client.errors import FailedAttempt, GpuSpent, OmniError

MOST_GENERATIONS: Final = 2
"""How many requests for one image may have cost GPU time: one, and one more in place of it."""

_COST_ORDER: Final[Mapping[GpuSpent, int]] = {"no": 0, "unknown": 1, "yes": 2}


class GenerationBudget:
    """The budget and the record of one image. Not to be shared between images.

    Args:
        left: How many requests may still cost GPU time.
        label: What log lines call the image; "" for nothing.

    Attributes:
        left: The same, now; from 0 on. What was never sent, or refused before any work, takes nothing.
        spent: How many have been spent.
        attempts: How often the request was sent, or tried to be sent.
        gpu_spent: Whether GPU time was probably paid for.
        failures: The attempts that failed and were followed by another one.
    """

    def __init__(self, left: int = MOST_GENERATIONS, *, label: str = "") -> None:
        self.label: str = label
        self.left: int = left
        self.spent: int = 0
        self.attempts: int = 0
        self.gpu_spent: GpuSpent = "no"
        self.failures: tuple[FailedAttempt, ...] = ()
        self._pending: tuple[FailedAttempt, float] | None = None
        self._is_charged = True

    def __repr__(self) -> str:
        return f"GenerationBudget(left={self.left}, spent={self.spent}, attempts={self.attempts})"

    def begin(self, clock: Callable[[], float]) -> None:
        """Write down that an attempt is made now; a failure before it was followed by another attempt."""
        if self._pending is not None:
            self.follow(waited_seconds=max(0.0, clock() - self._pending[1]))
        self.attempts += 1
        self._is_charged = False

    def charge(self, cost: GpuSpent) -> None:
        """Write down what the attempt cost, as far as is known; one attempt is charged once."""
        self.gpu_spent = max((self.gpu_spent, cost), key=_COST_ORDER.__getitem__)
        if cost != "no" and not self._is_charged:
            self._spend(1)

    def fail(self, error: Exception, now: float, *, cost: GpuSpent) -> None:
        """Write down that the attempt failed, and what it cost."""
        self.charge(cost)
        reason = error.message if isinstance(error, OmniError) else str(error)
        self._pending = FailedAttempt(error=type(error).__name__, reason=reason, waited_seconds=0.0), now

    def add(self, error: OmniError) -> None:
        """Count what a client without this budget has tried on its own before it gave up on the attempt."""
        if error.exchange is not None and error.exchange.attempts > 1:
            self.attempts += error.exchange.attempts - 1
            self.failures = (*self.failures, *error.failures)
            self._spend(max(0, error.exchange.generations - (error.gpu_spent != "no")))

    def follow(self, *, waited_seconds: float) -> None:
        """Write down that another attempt follows the failed one after a wait."""
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
