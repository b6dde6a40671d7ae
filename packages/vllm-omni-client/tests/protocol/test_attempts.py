"""The record of one call: how often, how long, and what it cost over all attempts."""

from collections.abc import Callable

import pytest
from vllm_omni_client._protocol.attempts import Attempts
from vllm_omni_client._protocol.retry import Policy
from vllm_omni_client._protocol.retry_budget import RetryBudget
from vllm_omni_client.errors import (
    BadReply,
    ConnectionLost,
    EngineDead,
    Exchange,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerUnreachable,
)
from vllm_omni_client.generation_budget import GenerationBudget

URL = "http://gpu:8000/v1/images/generations"


def attempts_of(
    method: str = "POST",
    *,
    clock: Callable[[], float] = lambda: 0.0,
    max_retries: int = 5,
    image: GenerationBudget | None = None,
) -> Attempts:
    policy = Policy(max_retries=max_retries, timeout_seconds=60.0, repeatable=True)
    return Attempts(
        method=method,
        url=URL,
        policy=policy,
        budget=RetryBudget(),
        clock=clock,
        jitter=lambda: 0.5,
        image=image,
    )


def test_an_error_is_raised_with_everything_that_was_tried() -> None:
    times = iter([10.0, 12.5])
    attempts = attempts_of(clock=lambda: next(times))
    attempts.begin()
    attempts.begin()
    error = ServerError(
        "x", status=500, exchange=Exchange(method="POST", url="/path", status=500, request_id="r")
    )
    assert attempts.annotate(error) is error
    assert error.exchange == Exchange(
        method="POST", url=URL, status=500, request_id="r", attempts=2, generations=1, elapsed_seconds=2.5
    )


def test_the_calls_for_one_image_share_one_time_limit() -> None:
    image = GenerationBudget()
    times = iter([0.0, 45.0])
    first = attempts_of(clock=lambda: next(times), image=image)
    first.annotate(ServerBusy("x", status=503))
    assert (image.seconds, image.seconds_left) == (45.0, 15.0)
    assert attempts_of(clock=lambda: 100.0, image=image).remaining_seconds == 15.0
    image.restart_clock()
    assert attempts_of(clock=lambda: 100.0, image=image).remaining_seconds == 60.0


@pytest.mark.parametrize(("left", "resent"), [(2, True), (1, False)])
def test_a_stale_connection_is_replaced_only_within_the_budget_of_the_image(
    left: int, *, resent: bool
) -> None:
    attempts = attempts_of(image=GenerationBudget(left))
    assert attempts.is_stale(ConnectionLost("x", stale=True)) is resent


def test_the_most_expensive_attempt_decides_what_was_spent() -> None:
    attempts = attempts_of()
    assert attempts.annotate(ServerBusy("x", status=503)).gpu_spent == "no"
    assert attempts.annotate(ConnectionLost("x")).gpu_spent == "unknown"
    assert attempts.annotate(ServerUnreachable("x")).gpu_spent == "unknown"
    assert attempts.annotate(ServerError("x", status=500)).gpu_spent == "yes"
    assert attempts.annotate(ServerUnreachable("x")).gpu_spent == "yes"


def test_a_get_never_costs_gpu_time() -> None:
    assert attempts_of("GET").annotate(ConnectionLost("x")).gpu_spent == "no"


def test_the_time_left_is_never_negative() -> None:
    times = iter([0.0, 45.0, 61.0])
    attempts = attempts_of(clock=lambda: next(times))
    assert (attempts.remaining_seconds, attempts.remaining_seconds) == (15.0, 0.0)


def test_an_unknown_outcome_is_retried_once() -> None:
    attempts = attempts_of()
    for follows in (True, False):
        attempts.begin()
        error = attempts.diagnose(ConnectionLost("x"), healthy=True)
        assert attempts.decide_retry(attempts.annotate(error)) is follows
    assert attempts.wait_seconds(None) == 0.0


def test_the_health_answer_applies_to_one_attempt() -> None:
    attempts = attempts_of()
    attempts.begin()
    attempts.diagnose(BadReply("x"), healthy=True)
    attempts.begin()
    assert not attempts.decide_retry(BadReply("x"))


def test_waits_are_those_that_were_decided() -> None:
    attempts = attempts_of()
    waits: list[float] = []
    for _ in range(3):
        attempts.begin()
        assert attempts.decide_retry(ServerUnreachable("x"))
        waits.append(attempts.wait_seconds(None))
    assert waits == [0.25, 0.5, 1.0]


def test_a_bug_and_a_cancellation_are_never_retried() -> None:
    attempts = attempts_of()
    attempts.begin()
    assert not attempts.decide_retry(ValueError("a bug"))
    assert not attempts.decide_retry(KeyboardInterrupt())


def test_a_server_error_without_health_is_a_dead_engine() -> None:
    error = ServerError("it failed", status=500, exchange=Exchange(method="POST", url=URL, request_id="r"))
    dead = attempts_of().diagnose(error, healthy=False)
    assert type(dead) is EngineDead
    assert dead.message == "it failed (and /health does not return 200)"
    assert (dead.status, dead.exchange, dead.__cause__) == (500, error.exchange, error)


@pytest.mark.parametrize(
    ("error", "healthy"),
    [
        (ServerError("x", status=500), True),
        (ConnectionLost("x"), False),
        (BadReply("x"), False),
        (OutOfGpuMemory("x", status=500), True),
        (EngineDead("x", status=500), False),
    ],
)
def test_any_other_error_stays_unchanged(error: OmniError, *, healthy: bool) -> None:
    assert attempts_of().diagnose(error, healthy=healthy) is error
