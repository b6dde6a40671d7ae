"""Retry: (error, what was tried, what is allowed) → wait this long, or stop. Pure.

An image costs GPU seconds, and the server does not know a request that it has seen before. So what
decides is not the error alone but what is known of the work: never sent and refused are free to be
sent again; an unknown outcome may be sent once more, and only when the answer will be the same one
and the server is well; a failure that will fail again is not repeated.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from vllm_omni_client._protocol.retry_budget import CAPACITY, CHEAP_RETRY, COSTLY_RETRY
from vllm_omni_client.errors import ConnectionLost, OmniError, Outcome, ServerBusy

RetryClass = Outcome

_FIRST_BACKOFF_SECONDS: Final = 0.5
_LONGEST_BACKOFF_SECONDS: Final = 30.0
LONGEST_RETRY_AFTER_SECONDS: Final = 120.0
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
        generations_left: How many requests for the same image may still cost GPU time, over all layers.
        stale_resends: How many of them were sent again because an idle connection broke as it was used.
        elapsed_seconds: Since the call began.
        healthy: What `/health` said after the failure; None when it was not asked.
        tokens: What is left of the client's budget of retries, over all of its calls.
    """

    attempts: int
    costly_retries: int = 0
    generations_left: int = 1
    stale_resends: int = 0
    elapsed_seconds: float = 0.0
    healthy: bool | None = None
    tokens: float = CAPACITY


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after `seconds`.

    Attributes:
        costly: Whether the failed attempt may have cost GPU time.
        stale: Whether only the connection was at fault: no wait, and no retry of those that are allowed.
    """

    seconds: float
    costly: bool = False
    stale: bool = False

    @property
    def tokens(self) -> float:
        """What the retry takes from the client's budget."""
        if self.stale:
            return 0.0
        return COSTLY_RETRY if self.costly else CHEAP_RETRY


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not try again."""


def classify(error: OmniError) -> RetryClass:
    """Say what is known of the work behind an error."""
    return error.outcome


def is_stale(error: OmniError, *, generations_left: int, stale_resends: int) -> bool:
    """Say whether a request is sent again at once, as its idle connection broke; once for each call.

    It is counted as one that may have cost GPU time all the same: only the server knows what it has read.
    """
    return isinstance(error, ConnectionLost) and error.stale and generations_left > 0 and stale_resends == 0


def depends_on_health(error: OmniError, policy: Policy, *, tokens: float = CAPACITY) -> bool:
    """Say whether `/health` has to be asked before it can be decided what an error means.

    A 5xx of unclear cause may be an engine that died; an unknown outcome may be sent again only to a
    server that is well.
    """
    affordable = tokens >= COSTLY_RETRY
    return (error.outcome == "failed" and error.server_state != "dead") or (
        error.outcome == "unknown" and policy.repeatable and policy.max_retries > 0 and affordable
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
    if is_stale(error, generations_left=history.generations_left, stale_resends=history.stale_resends):
        return Wait(0.0, stale=True) if history.elapsed_seconds < policy.timeout_seconds else Stop()
    if history.attempts - history.stale_resends > policy.max_retries:
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
    outcome = classify(error)
    match outcome:
        case "final":
            return Stop()
        case "never_sent":
            return Wait(backoff)
        case "refused":
            return _after_refusal(error, backoff)
        case "unknown" | "failed":
            repeatable = policy.repeatable or outcome == "failed"
            unspent = history.costly_retries == 0 and history.generations_left > 0
            allowed = repeatable and unspent and history.healthy is True and error.server_state != "dead"
            return Wait(_requested_or(error, backoff), costly=True) if allowed else Stop()
        case _:
            assert_never(outcome)


def _requested_or(error: OmniError, backoff: float) -> float:
    """Return how long to wait: what the server asked for, where that is longer and not too long."""
    asked = error.retry_after_seconds if isinstance(error, ServerBusy) else None
    return max(asked, backoff) if asked is not None and asked <= LONGEST_RETRY_AFTER_SECONDS else backoff


def _after_refusal(error: OmniError, backoff: float) -> Wait | Stop:
    asked = error.retry_after_seconds if isinstance(error, ServerBusy) else None
    if asked is None:
        return Wait(backoff)
    return Wait(max(asked, backoff)) if asked <= LONGEST_RETRY_AFTER_SECONDS else Stop()
