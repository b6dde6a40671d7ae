"""Sleeping and waking: a request that comes while the server sleeps waits until it wakes."""

import threading
from collections.abc import Callable

import httpx
import pytest

Ask = Callable[..., httpx.Response]
SECONDS = 30.0


def sleep(server: httpx.Client, body: object) -> httpx.Response:
    return server.post("/v1/omni/sleep", json=body)


def wake_up(server: httpx.Client, body: object) -> httpx.Response:
    return server.post("/v1/omni/wakeup", json=body)


def test_a_server_that_is_awake_is_not_woken(server: httpx.Client) -> None:
    for stages in ([0], [5], []):
        response = wake_up(server, {"stage_ids": stages})
        assert (response.status_code, response.json()) == (
            200,
            {"status": "SKIPPED", "reason": "Target stages are not sleeping."},
        )


def test_a_request_waits_until_the_server_wakes(server: httpx.Client, ask: Ask) -> None:
    fallen_asleep = sleep(server, {"stage_ids": [0], "level": 1})
    assert fallen_asleep.json()["status"] == "SUCCESS"
    assert set(fallen_asleep.json()["acks"][0]) == {
        *("task_id", "status", "stage_id", "rank", "freed_bytes", "metadata", "error_msg"),
    }
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert answers == []
    assert server.get("/health").json() == {"status": "healthy"}
    assert wake_up(server, {"stage_ids": [0]}).json()["status"] == "SUCCESS"
    waiting.join(SECONDS)
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize("route", ["/v1/omni/sleep", "/v1/omni/wakeup"])
@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        (
            "{}",
            "'missing', 'loc': 'body.stage_ids', 'msg': 'Field required', 'input': '<dict of 0 items>'",
            "body.stage_ids",
        ),
        (
            '{"stage_ids": "x"}',
            "'list_type', 'loc': 'body.stage_ids', 'msg': 'Input should be a valid list', 'input': 'x'",
            "body.stage_ids",
        ),
        ("", "'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'", "body"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    server: httpx.Client, route: str, body: str, error: str, param: str
) -> None:
    response = server.post(route, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()) == (
        400,
        {
            "error": {
                "message": f"1 validation error:\n  {{'type': {error}}}",
                "type": "Bad Request",
                "param": param,
                "code": 400,
            }
        },
    )


def test_a_body_that_is_not_declared_as_json_is_not_an_object(server: httpx.Client) -> None:
    response = server.post(
        "/v1/omni/wakeup", content=b'{"stage_ids":[0]}', headers={"Content-Type": "text/plain"}
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "body")
    assert "'type': 'model_attributes_type'" in error["message"]
    assert "'input': '<bytes of 17 bytes>'" in error["message"]


def test_the_key_protects_sleep(guarded: httpx.Client) -> None:
    for response in (sleep(guarded, {"stage_ids": [0]}), wake_up(guarded, {"stage_ids": [0]})):
        assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})
