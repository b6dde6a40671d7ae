"""Decide whether to retry. Pure: (error, history, policy) → wait this long, or stop.

An image costs GPU seconds, and the server does not recognise a request that it has seen before. So the
decision depends not only on the error but on what is known about the work. A request that was never sent or
was refused is retried freely. One with an unknown outcome is sent once more, only if the answer would be the
same and the server is healthy. A failure that would fail again is not retried.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from vllm_omni_client._protocol.retry_budget import CAPACITY, CHEAP_RETRY, COSTLY_RETRY
from vllm_omni_client.errors import ConnectionLost, OmniError, ServerBusy

_FIRST_BACKOFF_SECONDS: Final = 0.5
_LONGEST_BACKOFF_SECONDS: Final = 30.0
LONGEST_RETRY_AFTER_SECONDS: Final = 120.0
# 2**n stays well within a float, and is already far beyond the longest backoff.
_LARGEST_EXPONENT: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of one call.

    Attributes:
        max_retries: Attempts after the first one.
        timeout_seconds: The total deadline, over all attempts and the waits between them.
        repeatable: Whether sending it twice gives the same answer: a GET, or a seed is set.
    """

    max_retries: int
    timeout_seconds: float
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was tried, including the attempt that just failed.

    `costly_retries` followed a failure that may have used GPU time; `stale_resends` followed an idle
    connection that broke as it was reused. `generations_left` counts over all layers, `tokens` are left of
    the client's retry budget, and `healthy` is None if `/health` was not asked.
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
        costly: Whether the failed attempt may have used GPU time.
        stale: Whether a stale connection was the cause: no wait, and it does not count as a retry.
    """

    seconds: float
    costly: bool = False
    stale: bool = False

    @property
    def tokens(self) -> float:
        """What the retry takes from the client's retry budget."""
        if self.stale:
            return 0.0
        return COSTLY_RETRY if self.costly else CHEAP_RETRY


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not try again."""


def is_stale(error: OmniError, *, generations_left: int, stale_resends: int) -> bool:
    """Say whether to resend immediately because an idle connection broke; at most once per call.

    The broken attempt still counts as one that may have used GPU time: only the server knows what it read.
    """
    return isinstance(error, ConnectionLost) and error.stale and generations_left > 0 and stale_resends == 0


def depends_on_health(error: OmniError, policy: Policy, *, tokens: float = CAPACITY) -> bool:
    """Say whether the meaning of an error depends on what `/health` answers.

    A 5xx without a clear cause may be a dead engine; a request with an unknown outcome may be sent again only
    to a healthy server.
    """
    affordable = tokens >= COSTLY_RETRY
    return (error.outcome == "failed" and error.server_state != "dead") or (
        error.outcome == "unknown" and policy.repeatable and policy.max_retries > 0 and affordable
    )


def decide(error: OmniError, *, policy: Policy, history: History, jitter: float) -> Wait | Stop:
    """Decide whether another attempt follows, and after what wait.

    A wait ends before the total deadline and fits the retry budget. Jitter is a random number in [0, 1): full
    jitter, so that clients do not retry in step.
    """
    if is_stale(error, generations_left=history.generations_left, stale_resends=history.stale_resends):
        return Wait(0.0, stale=True) if history.elapsed_seconds < policy.timeout_seconds else Stop()
    if history.attempts - history.stale_resends > policy.max_retries:
        return Stop()
    decision = _wait(error, policy=policy, history=history, backoff=backoff_seconds(history.attempts, jitter))
    if isinstance(decision, Wait) and history.elapsed_seconds + decision.seconds >= policy.timeout_seconds:
        return Stop()
    if isinstance(decision, Wait) and history.tokens < decision.tokens:
        return Stop()
    return decision


def backoff_seconds(attempts: int, jitter: float) -> float:
    """Return `jitter` of 0.5, 1, 2, 4 ... seconds, after 1, 2, 3, 4 ... attempts; at most 30."""
    exponent = min(attempts - 1, _LARGEST_EXPONENT)
    return jitter * min(_FIRST_BACKOFF_SECONDS * 2.0**exponent, _LONGEST_BACKOFF_SECONDS)


def _wait(error: OmniError, *, policy: Policy, history: History, backoff: float) -> Wait | Stop:
    outcome = error.outcome
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
    """Return the longer of the backoff and what the server asked for, unless that is too long."""
    requested = error.retry_after_seconds if isinstance(error, ServerBusy) else None
    if requested is None or requested > LONGEST_RETRY_AFTER_SECONDS:
        return backoff
    return max(requested, backoff)


def _after_refusal(error: OmniError, backoff: float) -> Wait | Stop:
    requested = error.retry_after_seconds if isinstance(error, ServerBusy) else None
    if requested is None:
        return Wait(backoff)
    return Wait(max(requested, backoff)) if requested <= LONGEST_RETRY_AFTER_SECONDS else Stop()
