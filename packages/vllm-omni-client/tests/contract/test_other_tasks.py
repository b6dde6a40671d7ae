"""The routes for text, sound and video, on a server whose model draws."""

from typing import Any

import httpx
import pytest


def error(response: httpx.Response) -> dict[str, Any]:
    return response.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "attribute"),
    [
        ("/tokenize", {"prompt": "a"}, "create_tokenize"),
        ("/tokenize", {"messages": [{"role": "user", "content": "a"}]}, "create_tokenize"),
        ("/detokenize", {"tokens": [1]}, "create_detokenize"),
        ("/v1/completions", {"prompt": "a", "max_tokens": 5}, "openai_serving_completion"),
        ("/v1/responses", {"input": "a"}, "openai_serving_responses"),
        ("/v1/messages", {"model": "x", "messages": [], "max_tokens": 5}, "anthropic_serving_messages"),
        ("/invocations", {}, "openai_serving_completion"),
        ("/generative_scoring", {}, "serving_generative_scoring"),
    ],
)
def test_what_is_made_for_text_breaks(
    server: httpx.Client, path: str, body: dict[str, object], attribute: str
) -> None:
    # The server closes such a connection without announcing it.
    response = server.post(path, json=body, headers={"connection": "close"})
    assert (response.status_code, error(response)["type"]) == (500, "InternalServerError")
    assert error(response)["message"].endswith(f"object has no attribute '{attribute}'")
    assert "vary" not in response.headers


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        ("/tokenize", {}, "body.prompt"),
        ("/detokenize", {"tokens": [-1]}, "body.tokens.0"),
        ("/v1/completions", {}, "prompt"),
        ("/v1/completions", {"prompt": "a", "max_tokens": "x"}, "body.max_tokens"),
        ("/v1/responses", {}, "body.input"),
        ("/v1/responses", {"input": "a", "prompt": {}}, "prompt"),
        ("/v1/messages", {"model": "", "messages": [], "max_tokens": 5}, "body.model"),
        ("/v1/messages", {"model": "x", "messages": [], "max_tokens": 0}, "body.max_tokens"),
        ("/v1/audio/speech", {}, "body.input"),
        ("/v1/audio/speech", {"input": "a", "speed": 9}, "body.speed"),
        ("/v1/audio/speech/batch", {"items": []}, "body.items"),
        ("/v1/audio/generate", {"input": " "}, "body.input"),
        ("/v1/audio/voices", {}, "body.consent"),
        ("/v1/realtime/sessions", {}, "body.model"),
        ("/v1/videos", {"prompt": "a"}, "body.prompt"),
    ],
)
def test_bodies_are_checked_first(
    server: httpx.Client, path: str, body: dict[str, object], parameter: str
) -> None:
    response = server.post(path, json=body)
    assert (response.status_code, error(response)["param"]) == (400, parameter)
    assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions", "/v1/audio/speech", "/invocations"])
def test_plain_json_alone_is_taken(server: httpx.Client, path: str) -> None:
    response = server.post(path, content=b"x", headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert error(response)["message"].endswith("Only 'application/json' is allowed")


@pytest.mark.parametrize(
    ("asked", "body", "status", "message"),
    [
        ("POST /invocations", [], 400, "list indices must be integers or slices, not str"),
        ("POST /scale_elastic_ep", {}, 400, "new_data_parallel_size is required"),
        (
            "POST /scale_elastic_ep",
            {"new_data_parallel_size": 0},
            400,
            "new_data_parallel_size must be a positive integer",
        ),
        ("POST /scale_elastic_ep", {"new_data_parallel_size": 2}, 500, "Scale failed"),
        ("POST /v1/audio/speech", {"input": ""}, 400, "Input text cannot be empty"),
        (
            "POST /v1/audio/speech",
            {"input": "a", "voice": "x"},
            400,
            "Invalid voice 'x'. Supported: default",
        ),
        (
            "POST /v1/audio/speech/batch",
            {"items": [{"input": "a"}]},
            400,
            "Batch speech is not supported in diffusion mode",
        ),
        ("DELETE /v1/audio/voices/x", None, 404, "Voice 'x' not found"),
        (
            "POST /v1/realtime/sessions",
            {"model": "x"},
            501,
            "RL rollout serving not available for this model.",
        ),
        (
            "GET /v1/realtime/sessions/x/status",
            None,
            501,
            "RL rollout serving not available for this model.",
        ),
        ("GET /v1/videos/x", None, 404, "Video not found"),
        ("GET /v1/videos/x/content", None, 404, "Video not found"),
        ("DELETE /v1/videos/x", None, 404, "Video not found"),
    ],
)
def test_the_others_say_what_is_wrong(
    server: httpx.Client, asked: str, body: object, status: int, message: str
) -> None:
    response = server.request(*asked.split(), json=body)
    assert (response.status_code, error(response)["message"]) == (status, message)


def test_some_answer(server: httpx.Client) -> None:
    voices = {"voices": ["default"], "uploaded_voices": []}
    assert server.get("/v1/audio/voices").json() == voices
    assert server.post("/is_scaling_elastic_ep").json() == {"is_scaling_elastic_ep": False}


def test_a_video_is_queued_fails_and_can_be_deleted(server: httpx.Client) -> None:
    job = server.post("/v1/videos", data={"prompt": "a", "seconds": "2"}).json()
    assert (job["status"], job["num_frames"], job["duration_s"], job["error"]) == ("queued", 48, 2.0, None)
    path = f"/v1/videos/{job['id']}"
    failed = server.get(path)
    for _ in range(100):  # until the server has begun with it
        if failed.json()["status"] == "failed":
            break
        failed = server.get(path)
    assert (failed.status_code, failed.json()["status"]) == (503, "failed")
    assert failed.json()["error"]["message"].startswith("No final video output stage")
    listed = server.get("/v1/videos", params={"limit": 1}).json()
    assert (listed["first_id"], listed["last_id"]) == (job["id"], job["id"])
    assert server.get(f"{path}/content").status_code == 422
    assert server.delete(path).json() == {"id": job["id"], "deleted": True, "object": "video.deleted"}
    assert server.get(path).status_code == 404


@pytest.mark.parametrize(
    ("query", "parameter"), [({"limit": "x"}, "query.limit"), ({"order": "x"}, "query.order")]
)
def test_a_list_of_videos_has_its_bounds(server: httpx.Client, query: dict[str, str], parameter: str) -> None:
    response = server.get("/v1/videos", params=query)
    assert (response.status_code, error(response)["param"]) == (400, parameter)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/tokenize", "POST"), ("/v1/videos", "POST"), ("/v1/videos/x", "GET"), ("/v1/audio/voices", "GET")],
)
def test_a_wrong_method_is_told_the_first_one(server: httpx.Client, path: str, allowed: str) -> None:
    response = server.put(path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_the_description_names_the_routes(server: httpx.Client) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/videos/{video_id}"]) == {"get", "delete"}
    assert set(paths["/v1/completions"]) == {"post"}
