"""Errors look as OpenAI's do, and say whether its SDK may send the request again."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from vllm_image_core.errors import CannotSave, ImageError, InvalidRequest, LimitReached
from vllm_image_mcp.openai_api.errors import error_reply, reply
from vllm_image_mcp.openai_api.translation import UnknownModel
from vllm_omni_client.errors import BadRequest, OutOfGpuMemory, ServerBusy, ServerError, ServerUnreachable


def limit(free_at: datetime | None) -> LimitReached:
    return LimitReached("At most 3.", limit="images_per_hour", free_at=free_at, next_step="Wait until then.")


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (
            InvalidRequest("n: no", parameter="n", value=0, allowed="1 to 10"),
            400,
            "invalid_request_error",
            "invalid_value",
        ),
        (UnknownModel("The model x is not loaded."), 404, "invalid_request_error", "model_not_found"),
        (limit(None), 429, "rate_limit_error", "rate_limit_exceeded"),
        (OutOfGpuMemory("out of memory", status=500), 500, "server_error", "out_of_memory"),
        (BadRequest("no", status=400), 400, "invalid_request_error", "invalid_value"),
        (ServerUnreachable("refused"), 503, "server_error", "server_unavailable"),
        (ServerBusy("busy", status=503), 503, "server_error", "server_unavailable"),
        (ServerError("broken", status=500), 502, "server_error", "bad_gateway"),
        (CannotSave("The folder is full."), 500, "server_error", "server_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_has_its_status_type_and_code(error: Exception, status: int, kind: str, code: str) -> None:
    answer = error_reply(error)
    told = json.loads(bytes(answer.body))["error"]
    assert (answer.status_code, told["type"], told["code"]) == (status, kind, code)
    assert told["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_the_parameter_and_the_next_step_are_named() -> None:
    error = InvalidRequest("n: 0 is too few.", parameter="n", value=0, allowed="1 to 10", next_step="Use 1.")
    told = json.loads(bytes(error_reply(error).body))["error"]
    assert (told["param"], told["message"]) == ("n", "n: 0 is too few. Use 1.")


def test_a_bug_is_not_described() -> None:
    told = bytes(error_reply(RuntimeError("a path: /srv/secret")).body)
    assert b"secret" not in told
    assert b"see its log" in told


@pytest.mark.parametrize(("seconds", "retries"), [(20, True), (1_800, False)])
def test_a_limit_says_when_to_come_back_and_the_sdk_waits_only_for_short_ones(
    seconds: int, *, retries: bool
) -> None:
    headers = error_reply(limit(datetime.now(UTC) + timedelta(seconds=seconds))).headers
    assert int(headers["retry-after"]) == pytest.approx(seconds, abs=3)
    assert ("x-should-retry" not in headers) == retries


def test_an_error_with_a_class_of_its_own_in_the_core_is_never_a_success() -> None:
    assert error_reply(ImageError("no")).status_code >= 400
    assert reply(418, "no", kind="x").status_code == 418
