import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings, create_app


def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(SimulatorSettings()))
    return httpx.AsyncClient(transport=transport, base_url="http://simulator")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/videos"),
        ("GET", "/v1/audio/voices"),
    ],
)
async def test_a_route_that_is_not_implemented_says_so(method: str, path: str) -> None:
    async with client() as http:
        response = await http.request(method, path, content=b"anything")
    assert response.status_code == 501
    assert response.json() == {
        "error": {
            "message": "This simulator serves the image API only and does not implement "
            f"{method} {path}. Use POST /v1/images/generations or POST /v1/images/edits, "
            "or send this request to a real vLLM-Omni server.",
            "type": "Not Implemented",
            "param": None,
            "code": 501,
        }
    }


async def test_a_server_without_videos_lists_none_and_finds_none() -> None:
    async with client() as http:
        listed = await http.get("/v1/videos")
        shown = [
            await http.request(method, path)
            for method, path in (
                ("GET", "/v1/videos/some"),
                ("GET", "/v1/videos/some/content"),
                ("DELETE", "/v1/videos/some"),
            )
        ]
    assert (listed.status_code, listed.json()["data"]) == (200, [])
    assert [(each.status_code, each.json()["error"]["message"]) for each in shown] == [
        (404, "Video not found")
    ] * 3


async def test_a_wrong_method_on_a_route_that_is_not_implemented_is_not_allowed() -> None:
    async with client() as http:
        response = await http.get("/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_the_description_names_the_routes_that_are_not_implemented() -> None:
    async with client() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert {"/v1/chat/completions", "/v1/videos", "/v1/audio/speech"} <= set(paths)
