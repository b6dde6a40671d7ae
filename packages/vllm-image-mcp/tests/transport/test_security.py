"""Known vulnerabilities of MCP servers and of their libraries do not apply to the server over HTTP."""

import asyncio
import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from http_process import DEADLINE_SECONDS, PING, HttpServer, connected, content_of, text_of, write_users

if TYPE_CHECKING:
    from conftest import OmniServer

TOKENS = {"anna": "anna-3d1f6a0c9b7e", "anna-b": "anna-b-51ce28d7f0a4"}
AS_ANNA = {"authorization": f"Bearer {TOKENS['anna']}"}
AS_OTHER = {"authorization": f"Bearer {TOKENS['anna-b']}"}
SMALL = {"width": 64, "height": 64}
CANARY = "canary-5f0e1c7a9d3b48e2"

ROUTES = [
    ("POST", "/mcp"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("GET", "/v1/images/files/x/y.png"),
]
EVERY_ROUTE = pytest.mark.parametrize(("method", "path"), ROUTES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tmp_path_factory.mktemp("images")
    started = HttpServer(
        "--users-file", str(write_users(folder.parent / "users.toml", TOKENS)), folder=folder
    )
    yield started
    errors = started.close()
    assert "Traceback" not in errors
    assert not any(token in errors for token in TOKENS.values())


@EVERY_ROUTE
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil.example", "0.0.0.0"]
)
def test_cve_2025_66416_every_route_refuses_foreign_hosts(
    server: HttpServer, method: str, path: str, host: str
) -> None:
    """DNS rebinding, also GHSA-89vp-x53w-74fx and CVE-2026-11624."""
    assert server.ask(method, path, host=host, **AS_ANNA)[0] == 421


@EVERY_ROUTE
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.example"])
def test_cve_2026_11624_every_route_refuses_foreign_origins(
    server: HttpServer, method: str, path: str, origin: str
) -> None:
    assert server.ask(method, path, origin=origin, **AS_ANNA)[0] == 403


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1] != "/healthz"])
def test_every_route_except_health_needs_a_token(server: HttpServer, method: str, path: str) -> None:
    assert server.ask(method, path)[0] in ({404} if "/files/" in path else {401})


def test_cve_2025_53365_clients_that_disconnect_do_no_harm(server: HttpServer) -> None:
    """See `benchmarks/rough_clients.py` for 10,000 of them."""
    body = json.dumps({**PING, "method": "tools/list"}).encode()
    head = f"host: 127.0.0.1\r\nauthorization: {AS_ANNA['authorization']}\r\ncontent-type: application/json"
    request = f"POST /mcp HTTP/1.1\r\n{head}\r\naccept: application/json, text/event-stream\r\n".encode()
    for sent in (
        request + b"content-length: 500\r\n\r\n{",
        request + f"content-length: {len(body)}\r\n\r\n".encode() + body,
        request + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
    ):
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(sent)
    assert server.ask(**AS_ANNA)[0] == 200


@pytest.mark.parametrize(
    "frame",
    [
        b"{}",
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 7}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": null}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800"}',
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"NaN",
        b"\xef\xbb\xbf{}",
        bytes(range(256)),
    ],
)
def test_cve_2025_53366_malformed_frames_do_no_harm(server: HttpServer, frame: bytes) -> None:
    """See `benchmarks/rough_clients.py` for 20,000 of them."""
    answer, _ = server.exchange("POST", "/mcp", frame, **AS_ANNA)
    assert answer.status < 500
    assert server.ask(**AS_ANNA)[0] == 200


async def test_cve_2026_52869_the_session_id_of_another_client_leads_nowhere(server: HttpServer) -> None:
    async with connected(server.url, TOKENS["anna"], era="2025-11-25") as anna:
        made = content_of(await anna.call_tool("generate_image", {"prompt": "a fox", **SMALL}))
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "resources/read",
        "params": {"uri": made["uri"]},
    }
    for session in ("0" * 32, "anna", made["batch_id"]):
        status, content = server.ask(body=call, mcp_session_id=session, **AS_OTHER)
        assert status == 200
        assert b'"error"' in content
        assert b'"contents"' not in content


@pytest.mark.parametrize("method", ["tasks/list", "tasks/get", "tasks/result", "tasks/cancel"])
def test_cve_2026_52870_tasks_of_others_do_not_exist(server: HttpServer, method: str) -> None:
    """Batches are the tasks of this server; `test_user_states.py` crosses them with three users."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "1"}}
    _, content = server.ask(body=call, **AS_OTHER)
    assert b"Method not found" in content


@pytest.mark.parametrize("path", ["/mcp", "/ws", "/v1/images/generations"])
def test_cve_2026_59950_no_websocket_is_opened(server: HttpServer, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **AS_ANNA,
    }
    connection.request("GET", path, headers=upgrade)
    assert connection.getresponse().status != 101
    connection.close()


async def test_ghsa_345p_7cg4_v4c7_answers_reach_the_client_that_asked(server: HttpServer) -> None:
    async def ask(user: str, number: int) -> tuple[str, dict[str, Any]]:
        prompt = f"{user} {number}"
        async with connected(server.url, TOKENS[user]) as client:
            return prompt, content_of(await client.call_tool("generate_image", {"prompt": prompt, **SMALL}))

    answers = await asyncio.gather(*(ask(user, number) for user in TOKENS for number in range(6)))
    for prompt, answer in answers:
        assert answer["parameters_used"]["prompt"] == prompt
        assert Path(answer["file_path"]).parent.name == prompt.partition(" ")[0]


async def test_cve_2025_53110_a_folder_with_the_same_prefix_is_not_allowed(server: HttpServer) -> None:
    async with connected(server.url, TOKENS["anna-b"]) as other:
        made = content_of(await other.call_tool("generate_image", {"prompt": "a fox", **SMALL}))
    async with connected(server.url, TOKENS["anna"]) as anna:
        refused = await anna.call_tool("edit_image", {"prompt": "night", "images": [made["file_path"]]})
    assert "it is outside the folders that may be read" in text_of(refused)


async def test_cve_2025_53109_links_to_files_of_others_are_not_followed(server: HttpServer) -> None:
    async with connected(server.url, TOKENS["anna-b"]) as other:
        made = content_of(await other.call_tool("generate_image", {"prompt": "a fox", **SMALL}))
    target = Path(made["file_path"])
    async with connected(server.url, TOKENS["anna"]) as anna:
        own = content_of(await anna.call_tool("generate_image", {"prompt": "mine", **SMALL}))
        link = Path(own["file_path"]).with_name("link.png")
        link.symlink_to(target)
        refused = await anna.call_tool("edit_image", {"prompt": "night", "images": ["link.png"]})
        assert "links are not followed" in text_of(refused)
    call = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "image://link.png"}}
    assert b'"blob"' not in server.ask(body=call, **AS_ANNA)[1]
    link.unlink()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../healthz/../etc/passwd",
        "/v1/models/..%2f..%2fmetrics",
        "/v1/images/files/..%2f..%2f/x.png",
        "/mcp/../metrics",
    ],
)
def test_cve_2026_32871_path_segments_reach_nothing(server: HttpServer, path: str) -> None:
    assert server.ask("GET", path, **AS_ANNA)[0] in {404, 405, 307}


async def test_a_secret_is_in_no_output(omni: "OmniServer", tmp_path: Path) -> None:
    omni.failures = {"fails": (500, f"the key {CANARY} was refused")}
    users = write_users(tmp_path / "users.toml", {"anna": f"{CANARY}-token"}, settings=["metrics = true"])
    server = HttpServer(
        *("--vllm-url", omni.url, "--users-file", str(users), "--log-level", "DEBUG"),
        folder=tmp_path / "images",
        env={"VLLM_IMAGE_API_KEY": CANARY, "VLLM_IMAGE_HEADER": f"X-Gateway: {CANARY}"},
        demo=False,
    )
    headers = {"authorization": f"Bearer {CANARY}-token"}
    outputs: list[str] = []
    async with connected(server.url, f"{CANARY}-token") as client:
        for tool, arguments in (
            ("generate_image", {"prompt": "a fox", **SMALL}),
            ("generate_image", {"prompt": "fails", **SMALL}),
            ("get_batch", {"batch_id": "b-none"}),
            ("server_health", {}),
            ("list_batches", {}),
        ):
            outputs.append((await client.call_tool(tool, arguments)).model_dump_json())
    for method, path, body in (
        ("POST", "/v1/images/generations", {"prompt": "fails", "size": "64x64"}),
        ("POST", "/v1/images/generations", {"prompt": "a fox", "n": 99}),
        ("GET", "/v1/models", None),
        ("GET", "/metrics", None),
        ("GET", "/nothing", None),
    ):
        answer, content = server.exchange(method, path, body, **headers)
        outputs.append(f"{answer.headers} {content.decode()}")
    outputs.append(server.ask(authorization=f"Bearer {CANARY}-wrong")[1].decode())
    server.process.terminate()
    outputs.append(server.process.communicate(timeout=DEADLINE_SECONDS)[1])
    assert "DEBUG vllm_image_core" in outputs[-1]
    files = [file for file in (tmp_path / "images").rglob("*") if file.is_file()]
    outputs.extend(file.read_bytes().decode("latin-1") for file in files)
    assert len(files) > 3
    assert not [output for output in outputs if CANARY in output]
