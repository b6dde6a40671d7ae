"""The laws of retrying: free requests are repeated, costly ones once at most, hopeless ones never."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from vllm_omni_client._protocol.retry import (
    History,
    Policy,
    Stop,
    Wait,
    backoff_seconds,
    decide,
    depends_on_health,
)
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    ConnectionLost,
    EngineDead,
    InvalidParameter,
    LoraNotLoaded,
    NotFound,
    OmniError,
    Outcome,
    OutOfGpuMemory,
    RequestTimeout,
    ServerBusy,
    ServerError,
    ServerRefused,
    ServerUnreachable,
    Unauthorized,
)

CLASSES: list[tuple[OmniError, Outcome]] = [
    (ServerUnreachable("x", reason="refused"), "never_sent"),
    (ServerUnreachable("x", reason="dns"), "never_sent"),
    (ServerUnreachable("x", reason="timeout"), "never_sent"),
    (ServerUnreachable("x", reason="other"), "never_sent"),
    (ServerUnreachable("x", reason="tls"), "final"),
    (ConnectionLost("x", gpu_spent="no"), "never_sent"),
    (RequestTimeout("x", gpu_spent="no"), "never_sent"),
    (ServerBusy("x", status=429), "refused"),
    (ServerBusy("x", status=503), "refused"),
    (ServerRefused("x", status=408), "refused"),
    (ConnectionLost("x"), "unknown"),
    (RequestTimeout("x"), "unknown"),
    (BadReply("x"), "unknown"),
    (ServerError("x", status=501), "final"),
    (ServerError("x", status=504), "final"),
    (ServerError("x", status=522), "final"),
    (ServerError("x", status=524), "final"),
    (ServerError("x", status=520), "unknown"),
    (ServerError("x", status=521), "refused"),
    (ServerError("x", status=526), "final"),
    (ServerError("x", status=529), "refused"),
    (ServerError("x", status=507), "failed"),
    (ServerBusy("x", status=502), "unknown"),
    (ServerError("x", status=500), "failed"),
    (OutOfGpuMemory("x", status=500), "final"),
    (LoraNotLoaded("x", status=500), "final"),
    (EngineDead("x", status=500), "failed"),
    (BadRequest("x", status=400), "final"),
    (Unauthorized("x", status=401), "final"),
    (NotFound("x", status=404), "final"),
    (ServerRefused("x", status=307), "final"),
    (InvalidParameter("x"), "final"),
    (OmniError("x"), "final"),
]
ERRORS = st.sampled_from([error for error, _ in CLASSES])
OF_CLASS = {kind: st.sampled_from([error for error, its in CLASSES if its == kind]) for _, kind in CLASSES}
POLICIES = st.builds(
    Policy, max_retries=st.integers(0, 10), timeout_seconds=st.floats(0.1, 1e4), repeatable=st.booleans()
)
HISTORIES = st.builds(
    History,
    attempts=st.integers(1, 12),
    costly_retries=st.integers(0, 2),
    generations_left=st.integers(0, 2),
    elapsed_seconds=st.floats(0, 1e4),
    healthy=st.none() | st.booleans(),
)
JITTER = st.floats(0, 1, exclude_max=True)
GENEROUS = Policy(max_retries=5, timeout_seconds=300.0, repeatable=True)


@pytest.mark.parametrize(("error", "kind"), CLASSES)
def test_each_error_has_its_class(error: OmniError, kind: Outcome) -> None:
    assert error.outcome == kind


@given(ERRORS, POLICIES, HISTORIES, JITTER)
def test_a_wait_ends_before_the_deadline_and_within_the_allowed_retries(
    error: OmniError, policy: Policy, history: History, jitter: float
) -> None:
    verdict = decide(error, policy=policy, history=history, jitter=jitter)
    if isinstance(verdict, Wait):
        assert verdict.seconds >= 0
        assert history.elapsed_seconds + verdict.seconds < policy.timeout_seconds
        assert history.attempts <= policy.max_retries


@given(ERRORS, POLICIES, HISTORIES, JITTER)
def test_a_request_that_may_have_cost_is_sent_again_once_at_most_and_only_to_a_healthy_server(
    error: OmniError, policy: Policy, history: History, jitter: float
) -> None:
    verdict = decide(error, policy=policy, history=history, jitter=jitter)
    if isinstance(verdict, Wait) and error.outcome in {"unknown", "failed"}:
        assert verdict.costly
        assert history.generations_left > 0
        assert history.costly_retries == 0
        assert history.healthy is True
        assert policy.repeatable or error.outcome == "failed"


@given(OF_CLASS["final"], POLICIES, HISTORIES, JITTER)
def test_a_request_that_is_certain_to_fail_again_is_never_repeated(
    error: OmniError, policy: Policy, history: History, jitter: float
) -> None:
    assert decide(error, policy=policy, history=history, jitter=jitter) == Stop()


@given(OF_CLASS["never_sent"], HISTORIES, JITTER)
def test_a_request_that_was_never_sent_is_repeated_while_there_is_time(
    error: OmniError, history: History, jitter: float
) -> None:
    assume(history.attempts <= GENEROUS.max_retries and history.elapsed_seconds < 270)
    verdict = decide(error, policy=GENEROUS, history=history, jitter=jitter)
    assert verdict == Wait(backoff_seconds(history.attempts, jitter))


@given(ERRORS, POLICIES, HISTORIES, JITTER, st.floats(0, 100))
def test_less_time_never_allows_more_retries(
    error: OmniError, policy: Policy, history: History, jitter: float, less: float
) -> None:
    hurried = Policy(
        max_retries=policy.max_retries,
        timeout_seconds=max(0.0, policy.timeout_seconds - less),
        repeatable=policy.repeatable,
    )
    if isinstance(decide(error, policy=policy, history=history, jitter=jitter), Stop):
        assert isinstance(decide(error, policy=hurried, history=history, jitter=jitter), Stop)


def test_an_unknown_outcome_without_a_seed_is_never_sent_again() -> None:
    policy = Policy(max_retries=5, timeout_seconds=300.0, repeatable=False)
    history = History(attempts=1, healthy=True)
    assert decide(ConnectionLost("x"), policy=policy, history=history, jitter=0.5) == Stop()
    assert decide(ConnectionLost("x"), policy=GENEROUS, history=history, jitter=0.5) == Wait(
        0.25, costly=True
    )


def test_a_server_fault_is_retried_without_a_seed_because_no_image_can_be_duplicated() -> None:
    policy = Policy(max_retries=5, timeout_seconds=300.0, repeatable=False)
    verdict = decide(
        ServerError("x", status=500), policy=policy, history=History(attempts=1, healthy=True), jitter=0.0
    )
    assert verdict == Wait(0.0, costly=True)


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (None, Wait(0.5)),
        (0.0, Wait(0.5)),
        (7.0, Wait(7.0)),
        (120.0, Wait(120.0)),
        (120.5, Stop()),
        (1e9, Stop()),
    ],
)
def test_a_wait_requested_by_the_server_is_honoured_up_to_two_minutes(
    asked: float | None, verdict: Wait | Stop
) -> None:
    error = ServerBusy("x", status=429, retry_after_seconds=asked)
    assert decide(error, policy=GENEROUS, history=History(attempts=2), jitter=0.5) == verdict


def test_a_requested_wait_beyond_the_deadline_is_not_started() -> None:
    error = ServerBusy("x", status=429, retry_after_seconds=60.0)
    history = History(attempts=1, elapsed_seconds=250.0)
    assert decide(error, policy=GENEROUS, history=history, jitter=0.5) == Stop()


@given(st.integers(1, 10_000), JITTER)
def test_backoff_doubles_up_to_half_a_minute_with_full_jitter(attempts: int, jitter: float) -> None:
    longest = min(0.5 * 2 ** (min(attempts, 20) - 1), 30.0)
    assert backoff_seconds(attempts, jitter) == jitter * longest


@pytest.mark.parametrize(("error", "kind"), CLASSES)
def test_health_is_checked_if_it_decides(error: OmniError, kind: Outcome) -> None:
    decides = kind in {"failed", "unknown"} and not isinstance(error, EngineDead)
    assert depends_on_health(error, GENEROUS) is decides


def test_health_is_not_checked_if_no_retry_would_follow() -> None:
    seedless = Policy(max_retries=2, timeout_seconds=300.0, repeatable=False)
    once = Policy(max_retries=0, timeout_seconds=300.0, repeatable=True)
    assert not depends_on_health(ConnectionLost("x"), seedless)
    assert not depends_on_health(ConnectionLost("x"), once)
    assert depends_on_health(ServerError("x", status=500), once)


def test_a_stale_connection_is_replaced_at_once_and_only_once() -> None:
    error = ConnectionLost("x", stale=True)
    once = Policy(max_retries=0, timeout_seconds=300.0, repeatable=True)
    first, second = History(attempts=1), History(attempts=2, stale_resends=1)
    assert decide(error, policy=once, history=first, jitter=0.5) == Wait(0.0, stale=True)
    assert decide(error, policy=once, history=second, jitter=0.5) == Stop()
    spent = History(attempts=1, generations_left=0)
    assert decide(error, policy=once, history=spent, jitter=0.5) == Stop()


def test_a_stale_connection_takes_no_retry_and_no_token() -> None:
    history = History(attempts=2, stale_resends=1, healthy=True)
    policy = Policy(max_retries=1, timeout_seconds=300.0, repeatable=True)
    assert decide(ServerBusy("x", status=429), policy=policy, history=history, jitter=0.5) == Wait(0.5)
    assert Wait(0.0, stale=True).tokens == 0.0


@pytest.mark.parametrize("error", [ConnectionLost("x"), ServerError("x", status=500), BadReply("x")])
def test_an_image_whose_budget_is_spent_elsewhere_is_not_sent_again(error: OmniError) -> None:
    history = History(attempts=1, healthy=True, generations_left=0)
    assert decide(error, policy=GENEROUS, history=history, jitter=0.5) == Stop()
