"""What the server refuses, word for word."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import NotRequired, TypedDict

import httpx
import pytest

Ask = Callable[..., httpx.Response]


class Exchange(TypedDict):
    """One recorded exchange: what was sent to vLLM-Omni 0.30.0, and what it answered with status 400."""

    name: str
    body: NotRequired[str]
    body_base64: NotRequired[str]
    content_type: NotRequired[str]
    reply: dict[str, object]


RECORDED: list[Exchange] = [
    json.loads(line)
    for line in Path(__file__).with_name("refusals.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("exchange", [pytest.param(each, id=each["name"]) for each in RECORDED])
def test_a_recorded_refusal_is_repeated_to_the_letter(server: httpx.Client, exchange: Exchange) -> None:
    body = exchange.get("body", "").encode() or base64.b64decode(exchange.get("body_base64", ""))
    headers = {"Content-Type": exchange.get("content_type", "application/json")}
    response = server.post("/v1/images/generations", content=body, headers=headers)
    assert (response.status_code, response.json()) == (400, exchange["reply"])
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)


def test_a_different_model_is_refused_by_name(server: httpx.Client, ask: Ask) -> None:
    first = server.get("/v1/models").json()["data"][0]["id"]
    response = ask(model="no-such-model")
    shown = "<path>" if first.startswith("/tmp/") else first  # noqa: S108 - paths of servers are kept secret
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "message": f"Model mismatch: request specifies 'no-such-model' but server is running '{shown}'.",
            "type": "Bad Request",
            "param": None,
            "code": 400,
        }
    }


def test_a_path_in_a_message_is_hidden(ask: Ask) -> None:
    message = ask(model="/home/me/model.bin").json()["error"]["message"]
    assert message.startswith("Model mismatch: request specifies '<path>' but server is running ")


def test_the_first_served_name_is_accepted(server: httpx.Client, ask: Ask) -> None:
    assert ask(model=server.get("/v1/models").json()["data"][0]["id"]).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}", id="a number of 5000 digits"),
        pytest.param(b'{"prompt": "\xe9"}', id="Latin-1"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_refused_by_the_framework(server: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = server.post("/v1/images/generations", content=body, headers=headers)
    assert response.status_code == 400
    assert response.json() == {"detail": "There was an error parsing the body"}


def test_a_body_without_a_content_type_is_refused(server: httpx.Client) -> None:
    response = server.post("/v1/images/generations", content=b'{"prompt": "a"}')
    assert response.status_code == 400
    assert "Unsupported Media Type" in response.json()["error"]["message"]


def test_a_superfluous_comma_is_refused_in_the_words_of_the_python_on_the_server(
    server: httpx.Client,
) -> None:
    headers = {"Content-Type": "application/json"}
    response = server.post("/v1/images/generations", content=b'{"prompt": "a",}', headers=headers)
    assert response.status_code == 400
    assert "'msg': 'JSON decode error'" in response.json()["error"]["message"]


def test_a_long_value_is_cut_in_the_message(ask: Ask) -> None:
    response = ask(n="x" * 5000)
    assert response.status_code == 400
    assert "'input': '" + "x" * 200 + "...[truncated]'" in response.json()["error"]["message"]


def test_a_prompt_that_is_not_unicode_fails_in_the_worker(server: httpx.Client) -> None:
    body = b'{"prompt": "a\\ud800b", "size": "64x64", "num_inference_steps": 1}'
    headers = {"Content-Type": "application/json"}
    response = server.post("/v1/images/generations", content=body, headers=headers)
    assert response.status_code == 500
    assert response.json()["error"]["message"].startswith("Image generation failed: TextEncodeInput must be")


def test_an_unknown_device_fails_in_the_worker(ask: Ask) -> None:
    response = ask(generator_device="bogus")
    assert response.status_code == 500
    assert response.json()["error"]["message"].endswith("at start of device string: bogus")


@pytest.mark.parametrize("device", ["1", "cpu:", "cpu:01", "cpu:x", "a-b", " cpu", ":0"])
def test_anything_but_a_device_name_is_refused(ask: Ask, device: str) -> None:
    response = ask(generator_device=device)
    assert response.status_code == 500
    assert (
        response.json()["error"]["message"] == f"Image generation failed: Invalid device string: {device!r}"
    )


def test_an_empty_device_name_has_its_own_message(ask: Ask) -> None:
    assert ask(generator_device="").json()["error"]["message"].endswith("Device string must not be empty")


@pytest.mark.parametrize("path", ["style", "me/style"])
def test_an_adapter_named_as_a_repository_is_looked_up_there(ask: Ask, path: str) -> None:
    response = ask(lora={"name": "style", "path": path})
    assert response.status_code == 500
    assert "Cannot find an appropriate cached snapshot folder" in response.json()["error"]["message"]


def test_a_missing_adapter_fails_in_the_worker(ask: Ask) -> None:
    response = ask(lora={"name": "style", "path": "/nowhere"})
    assert (response.status_code, response.json()) == (
        500,
        {
            "error": {
                "message": "Image generation failed: [Errno 2] No such file or directory: '<path>'",
                "type": "Internal Server Error",
                "param": None,
                "code": 500,
            }
        },
    )


def test_a_blank_prompt_is_drawn_or_fails_depending_on_the_model(ask: Ask, model_kind: str) -> None:
    for prompt in ("", " "):
        response = ask(prompt=prompt)
        if model_kind != "klein":
            assert response.status_code == 200
            continue
        assert (response.status_code, response.json()) == (
            500,
            {
                "error": {
                    "message": "Image generation failed: `prompt` cannot be empty or whitespace-only.",
                    "type": "Internal Server Error",
                    "param": None,
                    "code": 500,
                }
            },
        )


def test_a_prompt_that_is_too_long_is_cut_or_fails_depending_on_the_model(ask: Ask, model_kind: str) -> None:
    response = ask(prompt="word " * 5000)
    assert response.status_code == (500 if model_kind == "qwen" else 200)
    if model_kind == "qwen":
        message = response.json()["error"]["message"]
        assert message.startswith("Image generation failed: `prompt` is too long after applying the Qwen")
