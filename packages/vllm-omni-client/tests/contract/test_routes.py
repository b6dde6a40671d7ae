"""The routes, what they answer, and who may ask."""

import httpx
import pytest

FIELDS = {
    *("prompt", "bot_task", "model", "n", "size", "response_format", "user", "layers", "negative_prompt"),
    *("system_prompt", "use_system_prompt", "num_inference_steps", "guidance_scale", "true_cfg_scale"),
    *("flow_shift", "extra_params", "seed", "generator_device", "lora", "vae_use_slicing", "vae_use_tiling"),
    *("output_format", "output_compression", "return_stage_metrics"),
}

EDIT_FIELDS = {
    *("image", "image[]", "url", "url[]", "prompt", "model", "n", "size", "response_format", "output_format"),
    *("background", "output_compression", "stream", "user", "mask_image", "reference_image"),
    *("negative_prompt", "num_inference_steps", "guidance_scale", "guidance_scale_2", "strength"),
    *("true_cfg_scale", "seed", "generator_device", "lora", "layers", "resolution", "bot_task", "sys_type"),
    *("system_prompt", "return_stage_metrics"),
}


def test_a_running_server_is_healthy(server: httpx.Client) -> None:
    response = server.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})
    assert response.headers["content-type"] == "application/json"


def test_the_version_is_0_30_0(server: httpx.Client) -> None:
    assert server.get("/version").json() == {"version": "0.30.0"}


def test_ping_has_an_empty_body(server: httpx.Client) -> None:
    for method in ("GET", "POST"):
        response = server.request(method, "/ping")
        assert (response.status_code, response.content) == (200, b"")


def test_load_does_not_count_images(server: httpx.Client) -> None:
    assert server.get("/load").json() == {"server_load": 0}


def test_a_model_card_has_every_field(server: httpx.Client) -> None:
    models = server.get("/v1/models").json()
    card = models["data"][0]
    permission = card["permission"][0]
    assert models == {"object": "list", "data": models["data"]}
    assert card == {
        "id": card["id"],
        "object": "model",
        "created": card["created"],
        "owned_by": "vllm",
        "root": card["root"],
        "parent": None,
        "max_model_len": None,
        "permission": [permission],
    }
    assert permission == {
        "id": permission["id"],
        "object": "model_permission",
        "created": permission["created"],
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    assert permission["id"].startswith("modelperm-")
    assert len(permission["id"]) == len("modelperm-") + 16


def test_the_description_lists_the_fields_of_a_request(server: httpx.Client) -> None:
    document = server.get("/openapi.json").json()
    schema = document["components"]["schemas"]["ImageGenerationRequest"]
    assert set(schema["properties"]) == FIELDS
    assert schema["required"] == ["prompt"]
    steps = schema["properties"]["num_inference_steps"]["anyOf"]
    assert steps == [{"type": "integer", "minimum": 1, "maximum": 200}, {"type": "null"}]
    ours = {
        *("/load", "/version", "/metrics", "/ping", "/health", "/v1/models", "/v1/images/generations"),
        *("/v1/images/edits", "/v1/omni/sleep", "/v1/omni/wakeup"),
    }
    assert ours <= set(document["paths"])
    assert set(document["paths"]["/v1/images/generations"]) == {"post"}


def test_the_description_lists_the_fields_of_an_edit(server: httpx.Client) -> None:
    document = server.get("/openapi.json").json()
    content = document["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]
    name = content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    assert set(schema["properties"]) == EDIT_FIELDS
    assert schema["required"] == ["prompt"]
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    assert schema["properties"]["image"]["anyOf"] == [{"items": file, "type": "array"}, {"type": "null"}]
    assert schema["properties"]["mask_image"]["anyOf"] == [{"type": "string"}, file, {"type": "null"}]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_there_are_pages_for_people(server: httpx.Client, method: str, path: str) -> None:
    response = server.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/v1/nope", "/v1/images/variations", "/V1/models", "/v1/models/x"]
)
def test_an_unknown_route_is_not_found(server: httpx.Client, path: str) -> None:
    response = server.get(path)
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/images/generations", "POST"),
        ("GET", "/v1/images/edits", "POST"),
        ("GET", "/v1/omni/sleep", "POST"),
        ("PUT", "/v1/images/generations", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/health", "GET"),
        ("DELETE", "/health", "GET"),
        ("PUT", "/ping", "GET"),
        ("OPTIONS", "/v1/models", "GET"),
    ],
)
def test_a_wrong_method_is_not_allowed(server: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = server.request(method, path)
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("method", ["FOO", "A" * 40])
@pytest.mark.parametrize("path", ["/v1/images/generations", "/health", "/nope"])
def test_an_unknown_method_is_not_a_valid_request(server: httpx.Client, method: str, path: str) -> None:
    response = server.request(method, path)
    assert (response.status_code, response.text) == (400, "Invalid HTTP request received.")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/version", "/ping", "/load"])
def test_head_is_not_answered_on_get_routes(server: httpx.Client, path: str) -> None:
    response = server.head(path)
    assert (response.status_code, response.content) == (405, b"")


def test_an_extra_slash_is_redirected(server: httpx.Client) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/images/generations")):
        response = server.request(method, f"{path}/")
        assert (response.status_code, response.headers["location"]) == (
            307,
            f"{server.base_url}".rstrip("/") + path,
        )


def test_browsers_of_any_origin_may_send_requests(server: httpx.Client) -> None:
    response = server.get("/health", headers={"Origin": "http://elsewhere"})
    assert response.headers["access-control-allow-origin"] == "*"
    asked = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"}
    assert server.options("/v1/images/generations", headers=asked).text == "OK"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic {}", "Bearer  {}"])
def test_without_the_key_nobody_gets_in(guarded: httpx.Client, key: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.format(key)}
    for response in (
        guarded.get("/v1/models", headers=headers),
        guarded.get("/v1/nope", headers=headers),
        guarded.post("/v1/images/generations", content=b"{", headers=headers),
    ):
        assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})
        assert "vary" not in response.headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_works_with_any_spelling_of_its_scheme(guarded: httpx.Client, key: str, scheme: str) -> None:
    assert guarded.get("/v1/models", headers={"Authorization": f"{scheme} {key}"}).status_code == 200


def test_routes_outside_v1_need_no_key(guarded: httpx.Client) -> None:
    for path in ("/health", "/version", "/metrics", "/openapi.json", "/ping", "/load"):
        assert guarded.get(path).status_code == 200


def test_a_second_served_name_is_listed_and_refused(guarded: httpx.Client, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    first, *others = (card["id"] for card in guarded.get("/v1/models", headers=headers).json()["data"])
    for other in others:
        response = guarded.post(
            "/v1/images/generations", json={"prompt": "a", "model": other}, headers=headers
        )
        message = f"Model mismatch: request specifies '{other}' but server is running '{first}'."
        assert (response.status_code, response.json()["error"]["message"]) == (400, message)
    assert others
