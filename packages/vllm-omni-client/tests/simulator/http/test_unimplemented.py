import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings, create_app


def client(version: str = "0.30.0") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(SimulatorSettings(server_version=version)))
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
async def test_an_unimplemented_route_says_so(method: str, path: str) -> None:
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


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/chat/completions", [501, 501, 501, 501]),
        ("/tokenize", [404, 501, 501, 501]),
        ("/v1/completions/render", [404, 501, 501, 404]),
        ("/v1/completions/derender", [404, 404, 501, 404]),
        ("/v1/realtime/sessions", [404, 404, 404, 501]),
    ],
)
async def test_each_release_refuses_its_own_unimplemented_routes(path: str, statuses: list[int]) -> None:
    found: list[int] = []
    for version in ("0.14.0", "0.20.0", "0.26.0", "0.30.0"):
        async with client(version) as http:
            found.append((await http.post(path, json={})).status_code)
    assert found == statuses


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
