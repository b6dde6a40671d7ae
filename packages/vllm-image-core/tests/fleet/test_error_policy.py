"""One classification of errors: fleet and batch act on what the client says about an error."""

import pytest
from vllm_image_core.batches.worker import Meaning, meaning_of
from vllm_image_core.errors import BadPicture, ImageError
from vllm_image_core.fleet.error_policy import Fault, policy_for
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    ConnectionLost,
    EngineDead,
    InvalidParameter,
    LoraNotLoaded,
    ModelChanged,
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
    UnsupportedParameter,
)

HEALTH_DECIDES = None
TABLE: list[tuple[OmniError, Outcome, Fault, bool, Meaning | None]] = [
    # the error, its outcome, what a fleet holds against the server, whether another one is asked, in a batch
    (InvalidParameter("x"), "final", "none", False, "failure"),
    (UnsupportedParameter("x"), "final", "none", True, "failure"),
    (ServerUnreachable("x", reason="refused"), "never_sent", "down", True, "outage"),
    (ServerUnreachable("x", reason="dns"), "never_sent", "down", True, "outage"),
    (ServerUnreachable("x", reason="timeout"), "never_sent", "down", True, "outage"),
    (ServerUnreachable("x", reason="other"), "never_sent", "down", True, "outage"),
    (ServerUnreachable("x", reason="tls"), "final", "down", True, "failure"),
    (RequestTimeout("x", gpu_spent="no"), "never_sent", "doubtful", True, HEALTH_DECIDES),
    (RequestTimeout("x"), "unknown", "doubtful", True, HEALTH_DECIDES),
    (ConnectionLost("x", gpu_spent="no"), "never_sent", "doubtful", True, HEALTH_DECIDES),
    (ConnectionLost("x"), "unknown", "lost", True, HEALTH_DECIDES),
    (ConnectionLost("x", stale=True), "unknown", "lost", True, HEALTH_DECIDES),
    (BadReply("x"), "unknown", "bad_reply", True, HEALTH_DECIDES),
    (ServerRefused("x", status=302), "final", "none", False, "failure"),
    (ServerRefused("x", status=402), "final", "none", False, "failure"),
    (ServerRefused("x", status=408), "refused", "busy", True, "outage"),
    (ServerRefused("x", status=409), "final", "none", False, "failure"),
    (BadRequest("x", status=400), "final", "none", False, "failure"),
    (BadRequest("x", status=405), "final", "none", False, "failure"),
    (BadRequest("x", status=413), "final", "none", False, "failure"),
    (BadRequest("x", status=415), "final", "none", False, "failure"),
    (BadRequest("x", status=422), "final", "none", False, "failure"),
    (ModelChanged("x", status=400), "final", "none", False, "failure"),
    (Unauthorized("x", status=401), "final", "down", True, "failure"),
    (Unauthorized("x", status=403), "final", "down", True, "failure"),
    (NotFound("x", status=404), "final", "down", True, "failure"),
    (ServerBusy("x", status=429), "refused", "busy", True, "outage"),
    (ServerBusy("x", status=429, retry_after_seconds=2.0), "refused", "busy", True, "outage"),
    (ServerBusy("x", status=502), "unknown", "lost", True, HEALTH_DECIDES),
    (ServerBusy("x", status=503), "refused", "busy", True, "outage"),
    (ServerError("x", status=500), "failed", "suspect", True, HEALTH_DECIDES),
    (ServerError("x", status=501), "final", "none", True, "failure"),
    (ServerError("x", status=504), "final", "doubtful", False, "failure"),
    (ServerError("x", status=507), "failed", "suspect", True, HEALTH_DECIDES),
    (ServerError("x", status=520), "unknown", "lost", True, HEALTH_DECIDES),
    (ServerError("x", status=521), "refused", "down", True, "outage"),
    (ServerError("x", status=522), "final", "doubtful", False, "failure"),
    (ServerError("x", status=523), "refused", "down", True, "outage"),
    (ServerError("x", status=524), "final", "doubtful", False, "failure"),
    (ServerError("x", status=525), "final", "down", True, "failure"),
    (ServerError("x", status=526), "final", "down", True, "failure"),
    (ServerError("x", status=529), "refused", "busy", True, "outage"),
    (ServerError("x", status=530), "refused", "down", True, "outage"),
    (OutOfGpuMemory("x", status=500), "final", "none", False, "failure"),
    (OutOfGpuMemory("x", status=200), "final", "none", False, "failure"),
    (LoraNotLoaded("x", status=500), "final", "none", False, "failure"),
    (EngineDead("x", status=500), "failed", "down", True, "death"),
    (EngineDead("x", status=504), "failed", "down", True, "death"),
]
IDS = [f"{type(error).__name__} {getattr(error, 'status', '')}" for error, *_ in TABLE]


@pytest.mark.parametrize(("error", "outcome", "fault", "elsewhere", "meaning"), TABLE, ids=IDS)
def test_client_fleet_and_batch_agree_on_every_error(
    error: OmniError, outcome: Outcome, fault: Fault, *, elsewhere: bool, meaning: Meaning | None
) -> None:
    policy = policy_for(error)
    assert (error.outcome, policy.fault, policy.elsewhere, meaning_of(error)) == (
        outcome,
        fault,
        elsewhere,
        meaning,
    )
    assert policy.costly is (error.gpu_spent != "no")


def every_class(root: type[OmniError]) -> set[type[OmniError]]:
    return {root}.union(*map(every_class, root.__subclasses__()))


def test_no_class_of_error_is_omitted() -> None:
    assert {type(error) for error, *_ in TABLE} >= every_class(OmniError) - {OmniError}


def test_only_what_another_server_may_fix_is_sent_there_after_gpu_time_was_spent() -> None:
    for error, outcome, _, elsewhere, _ in TABLE:
        if elsewhere and policy_for(error).costly:
            assert outcome in {"unknown", "failed"}


def test_final_errors_never_make_a_batch_wait_and_free_ones_never_fail_it() -> None:
    for error, outcome, _, _, meaning in TABLE:
        if outcome == "final":
            assert meaning == "failure"
        if outcome in {"never_sent", "refused"}:
            assert meaning != "failure"
        assert (error.gpu_spent == "no") >= (outcome in {"never_sent", "refused"})


def test_an_invalid_image_is_a_wrong_answer_and_other_errors_here_are_not_charged() -> None:
    rubbish, ours = policy_for(BadPicture("x")), policy_for(ImageError("x"))
    assert (rubbish.fault, rubbish.elsewhere, rubbish.costly) == ("bad_reply", True, True)
    assert (ours.fault, ours.elsewhere) == ("none", False)
