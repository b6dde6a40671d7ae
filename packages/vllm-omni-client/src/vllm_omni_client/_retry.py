"""Retry: (error, what was tried, what is allowed) → wait this long, or stop. Pure.

An image costs GPU seconds, and the server does not know a request that it has seen before. So what
decides is not the error alone but what is known of the work: never sent and refused are free to be
sent again; an unknown outcome may be sent once more, and only when the answer will be the same one
and the server is well; a failure that will fail again is not repeated.
"""

from dataclasses import dataclass
from typing import Final, Literal, assert_never

from vllm_omni_client._budget import CAPACITY, CHEAP_RETRY, COSTLY_RETRY
from vllm_omni_client.errors import (
    BadReply,
    ConnectionLost,
    EngineDead,
    OmniError,
    OutOfGpuMemory,
    RequestTimeout,
    ServerBusy,
    ServerError,
    ServerRefused,
    ServerUnreachable,
)

RetryClass = Literal["never_sent", "refused", "outcome_unknown", "server_fault", "final"]

_FIRST_BACKOFF_SECONDS: Final = 0.5
_LONGEST_BACKOFF_SECONDS: Final = 30.0
LONGEST_RETRY_AFTER_SECONDS: Final = 120.0
_REQUEST_TIMEOUT: Final = 408
_NOT_IMPLEMENTED: Final = 501
_GATEWAY_TIMEOUT: Final = 504
# 2**n overflows no float here, and passes the longest backoff long before.
_LARGEST_EXPONENT: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is allowed.

    Attributes:
        max_retries: Attempts after the first one.
        timeout_seconds: The total deadline over all attempts and the waits between them.
        repeatable: Whether sending twice gives the same answer: a GET, or a seed is set.
    """

    max_retries: int
    timeout_seconds: float
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was tried, the failed attempt included.

    Attributes:
        attempts: How many; at least 1.
        costly_retries: How many of them followed a failure that may have cost GPU time.
        elapsed_seconds: Since the call began.
        healthy: What `/health` said after the failure; None when it was not asked.
        tokens: What is left of the client's budget of retries, over all of its calls.
    """

    attempts: int
    costly_retries: int = 0
    elapsed_seconds: float = 0.0
    healthy: bool | None = None
    tokens: float = CAPACITY


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after `seconds`; `costly` when the failed attempt may have cost GPU time."""

    seconds: float
    costly: bool = False

    @property
    def tokens(self) -> float:
        """What the retry takes from the client's budget."""
        return COSTLY_RETRY if self.costly else CHEAP_RETRY


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not try again."""


def classify(error: OmniError) -> RetryClass:
    """Say what is known of the work behind an error."""
    if isinstance(error, ServerRefused):
        return _classify_refusal(error)
    match error:
        case ServerUnreachable():
            return "final" if error.reason == "tls" else "never_sent"
        case ConnectionLost() | RequestTimeout():
            return "never_sent" if error.gpu_spent == "no" else "outcome_unknown"
        case BadReply():
            return "outcome_unknown"
        case _:
            return "final"


def _classify_refusal(error: ServerRefused) -> RetryClass:
    if isinstance(error, OutOfGpuMemory | EngineDead) or error.status == _NOT_IMPLEMENTED:
        return "final"
    if isinstance(error, ServerBusy) or error.status == _REQUEST_TIMEOUT:
        return "refused"
    if error.status == _GATEWAY_TIMEOUT:
        return "outcome_unknown"
    return "server_fault" if isinstance(error, ServerError) else "final"


def depends_on_health(error: OmniError, policy: Policy, *, tokens: float = CAPACITY) -> bool:
    """Say whether `/health` has to be asked before it can be decided what an error means.

    A 5xx of unclear cause may be an engine that died; an unknown outcome may be sent again only to a
    server that is well.
    """
    kind = classify(error)
    affordable = tokens >= COSTLY_RETRY
    return kind == "server_fault" or (
        kind == "outcome_unknown" and policy.repeatable and policy.max_retries > 0 and affordable
    )


def decide(error: OmniError, *, policy: Policy, history: History, jitter: float) -> Wait | Stop:
    """Decide whether another attempt follows, and after how long.

    Args:
        error: How the last attempt failed.
        policy: What is allowed.
        history: What was tried.
        jitter: A number drawn evenly from [0, 1): full jitter, so that clients do not return in step.

    Returns:
        A wait that ends before the total deadline and that the budget allows, or the end.
    """
    if history.attempts > policy.max_retries:
        return Stop()
    verdict = _wait(error, policy=policy, history=history, backoff=backoff_seconds(history.attempts, jitter))
    if isinstance(verdict, Wait) and history.elapsed_seconds + verdict.seconds >= policy.timeout_seconds:
        return Stop()
    if isinstance(verdict, Wait) and history.tokens < verdict.tokens:
        return Stop()
    return verdict


def backoff_seconds(attempts: int, jitter: float) -> float:
    """Return `jitter` of 0.5, 1, 2, 4 ... seconds, after 1, 2, 3, 4 ... attempts; at most 30."""
    exponent = min(attempts - 1, _LARGEST_EXPONENT)
    return jitter * min(_FIRST_BACKOFF_SECONDS * 2.0**exponent, _LONGEST_BACKOFF_SECONDS)


def _wait(error: OmniError, *, policy: Policy, history: History, backoff: float) -> Wait | Stop:
    kind = classify(error)
    match kind:
        case "final":
            return Stop()
        case "never_sent":
            return Wait(backoff)
        case "refused":
            return _after_refusal(error, backoff)
        case "outcome_unknown":
            allowed = policy.repeatable and history.healthy is True and history.costly_retries == 0
            return Wait(backoff, costly=True) if allowed else Stop()
        case "server_fault":
            allowed = history.healthy is True and history.costly_retries == 0
            return Wait(backoff, costly=True) if allowed else Stop()
        case _:
            assert_never(kind)


def _after_refusal(error: OmniError, backoff: float) -> Wait | Stop:
    asked = error.retry_after_seconds if isinstance(error, ServerBusy) else None
    if asked is None:
        return Wait(backoff)
    return Wait(max(asked, backoff)) if asked <= LONGEST_RETRY_AFTER_SECONDS else Stop()
