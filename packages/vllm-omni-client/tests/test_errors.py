"""Errors carry data, survive pickling, and show nothing that is not safe to show."""

import copy
import pickle
import re
import traceback
from dataclasses import replace

import pytest
from vllm_omni_client import errors
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    ConnectionLost,
    EngineDead,
    Exchange,
    InvalidParameter,
    LoraNotLoaded,
    ModelChanged,
    NotFound,
    OmniError,
    OutOfGpuMemory,
    RequestTimeout,
    ServerBusy,
    ServerError,
    ServerRefused,
    ServerUnreachable,
    Unauthorized,
    UnreachableReason,
)

EXCHANGE = Exchange(
    method="POST",
    url="http://gpu:8000/v1/images/generations",
    status=503,
    request_id="img_gen-1",
    attempts=3,
    elapsed_seconds=1.5,
)
ONE_OF_EACH = [
    OmniError("went wrong", exchange=EXCHANGE),
    InvalidParameter("seed = True: no", parameter="seed"),
    ServerUnreachable("no one there", reason="dns", exchange=EXCHANGE),
    RequestTimeout("too late", exchange=EXCHANGE, gpu_spent="no"),
    ConnectionLost("gone", exchange=EXCHANGE),
    BadReply("HTML", exchange=EXCHANGE),
    ServerRefused("redirect", status=307, exchange=EXCHANGE),
    BadRequest("n", status=400, exchange=EXCHANGE),
    ModelChanged("a, not b", status=400, requested="a", served=("b", "c"), exchange=EXCHANGE),
    Unauthorized("key", status=401, exchange=EXCHANGE),
    NotFound("route", status=404, exchange=EXCHANGE),
    ServerBusy("later", status=503, retry_after_seconds=2.0, exchange=EXCHANGE),
    ServerBusy("later", status=502, exchange=EXCHANGE),
    ServerError("failed", status=500, exchange=EXCHANGE),
    OutOfGpuMemory("CUDA out of memory", status=500, exchange=EXCHANGE),
    LoraNotLoaded("no such file", status=500, lora="/loras/ink", exchange=EXCHANGE),
    EngineDead("dead", status=500, exchange=EXCHANGE),
]


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_a_pickle(error: OmniError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol=protocol))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.args, again.next_step) == (str(error), error.args, error.next_step)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied(error: OmniError) -> None:
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_an_error_says_in_one_sentence_what_to_do_next(error: OmniError) -> None:
    assert re.fullmatch(r"[A-Z].{10,200}\.", error.next_step)


def test_a_message_is_one_printable_line_of_at_most_500_characters() -> None:
    error = BadReply("first\nsecond\u202e " + "x" * 1000)
    assert error.message.startswith("first second x")
    assert len(error.message) == 500
    assert str(error) == f"{error.message}. {error.next_step}"


def test_a_query_that_timed_out_is_not_advised_to_take_fewer_steps() -> None:
    asked = replace(EXCHANGE, method="GET", url="http://gpu:8000/v1/models")
    question = RequestTimeout("no complete reply", exchange=asked)
    assert "server is hung" in question.next_step
    assert "steps" not in question.next_step
    assert "fewer steps" in RequestTimeout("no complete reply", exchange=EXCHANGE).next_step


def test_a_message_is_never_empty() -> None:
    assert ConnectionLost("\n").message == "ConnectionLost"


@pytest.mark.parametrize("reason", ["refused", "dns", "timeout", "tls", "proxy", "other"])
def test_each_way_of_being_unreachable_has_its_own_next_step(reason: UnreachableReason) -> None:
    others = {"refused", "dns", "timeout", "tls", "proxy", "other"} - {reason}
    steps = {ServerUnreachable("x", reason=other).next_step for other in others}  # type: ignore[arg-type]  # a set of literals widens
    assert len(steps) == 5
    assert ServerUnreachable("x", reason=reason).next_step not in steps


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "Wait, then"),
        (0.4, "Wait, then"),
        (1.0, "Wait 1 second, then"),
        (1.5, "Wait 1.5 seconds, then"),
        (7.0, "Wait 7 seconds, then"),
        (600.0, "Wait 10 minutes, then"),
        (1e9, "Wait 277,778 hours, then"),
    ],
)
def test_a_busy_server_that_names_a_wait_gets_it(seconds: float, words: str) -> None:
    error = ServerBusy("x", status=429, retry_after_seconds=seconds)
    assert error.next_step == f"{words} call again."


@pytest.mark.parametrize("status", [505, 508, 511])
def test_a_reply_that_only_a_gateway_sends_costs_nothing_and_is_not_repeated(status: int) -> None:
    error = ServerError("x", status=status)
    assert (error.outcome, error.server_state, error.gpu_spent) == ("final", "unavailable", "no")
    assert "directly to the server" in error.next_step


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (InvalidParameter("x"), "no"),
        (ServerUnreachable("x"), "no"),
        (RequestTimeout("x"), "unknown"),
        (RequestTimeout("x", gpu_spent="no"), "no"),
        (ConnectionLost("x"), "unknown"),
        (BadReply("x"), "unknown"),
        (BadRequest("x", status=400), "no"),
        (ServerBusy("x", status=503), "no"),
        (ServerError("x", status=500), "yes"),
        (ServerError("x", status=504, gpu_spent="unknown"), "unknown"),
        (OutOfGpuMemory("x", status=500), "yes"),
        (LoraNotLoaded("x", status=500), "no"),
    ],
)
def test_an_error_says_whether_gpu_time_was_probably_spent(error: OmniError, spent: str) -> None:
    assert error.gpu_spent == spent


def test_what_was_tried_is_attached_to_the_error() -> None:
    error = ConnectionLost("x")
    assert error.with_attempts(EXCHANGE, gpu_spent="yes") is error
    assert (error.exchange, error.gpu_spent) == (EXCHANGE, "yes")


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    path: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 4
        path[depth:] = [name]
        parent = getattr(errors, path[depth - 1]) if depth else Exception
        assert getattr(errors, name).__base__ is parent, name
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, OmniError)
    }
    assert {name for _, name in drawn} == classes


@pytest.mark.parametrize("end", ["", ".", "?", "!"])
def test_an_error_as_text_says_what_happened_and_what_to_do_next(end: str) -> None:
    error = ServerUnreachable(f"nobody is there{end}", reason="refused")
    assert str(error) == f"nobody is there{end or '.'} {error.next_step}"
    assert error.next_step in "".join(traceback.format_exception(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own
