"""Streamable HTTP: both protocol eras work, and only allowed clients can connect."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from http_process import DEADLINE_SECONDS, PING, HttpServer
from mcp import Client
from vllm_image_mcp.transport.http import Binding, UnsafeBinding

Start = Callable[..., HttpServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[HttpServer] = []

    def server(*options: str, **environment: str) -> HttpServer:
        started.append(HttpServer(*options, folder=tmp_path, env=environment))
        return started[-1]

    yield server
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """One server on loopback without a token, for the tests that only ask it."""
    server = HttpServer(folder=tmp_path_factory.mktemp("images"))
    yield server
    server.close()


async def test_both_eras_generate_an_image(local: HttpServer, era: str) -> None:
    async with Client(local.url, mode="legacy" if era == "2025-11-25" else "auto") as client:
        result = await client.call_tool(
            "generate_image", {"prompt": f"a fox of {era}", "width": 64, "height": 64}
        )
    assert not result.is_error
    assert result.structured_content
    assert Path(result.structured_content["file_path"]).is_file()


async def test_a_batch_of_one_client_is_read_by_the_next(local: HttpServer) -> None:
    async with Client(local.url) as client:
        begun = await client.call_tool("batch_generate", {"prompts": ["a", "b"], "width": 64, "height": 64})
    assert begun.structured_content
    async with Client(local.url, mode="legacy") as client:
        read = await client.call_tool("get_batch", {"batch_id": begun.structured_content["batch_id"]})
    assert read.structured_content
    assert read.structured_content["images_generated"] == 2


async def test_many_clients_at_once_are_answered(local: HttpServer) -> None:
    async def ask(number: int) -> bool:
        async with Client(local.url) as client:
            result = await client.call_tool(
                "generate_image", {"prompt": f"fox {number}", "width": 64, "height": 64}
            )
            return result.is_error

    assert not any(await asyncio.gather(*map(ask, range(8))))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("localhost:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("evil.example:8765", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/mcp"), ("GET", "/healthz")])
def test_only_names_of_this_machine_are_served(
    local: HttpServer, method: str, path: str, host: str, status: int
) -> None:
    assert local.ask(method, path, host=host)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("https://localhost", 200),
        ("http://evil.example", 403),
        ("https://localhost.evil.example", 403),
        ("null", 403),
        ("file://", 403),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/mcp"), ("GET", "/healthz")])
def test_only_pages_of_this_machine_are_served(
    local: HttpServer, method: str, path: str, origin: str, status: int
) -> None:
    assert local.ask(method, path, origin=origin)[0] == status


def test_the_process_says_that_it_is_alive(local: HttpServer) -> None:
    assert local.ask("GET", "/healthz") == (200, b'{"status":"ok"}')


def test_nothing_else_is_served(local: HttpServer) -> None:
    assert local.ask("GET", "/")[0] == 404
    assert local.ask("GET", "/v1/chat/completions")[0] == 404


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[1]", b"null", b'{"jsonrpc": "2.0"}', b"\xff\xfe", b"{" * 100_000]
)
def test_a_malformed_request_is_refused_and_the_server_survives(local: HttpServer, body: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", local.port, timeout=DEADLINE_SECONDS)
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    connection.request("POST", "/mcp", body, headers)
    assert 400 <= connection.getresponse().status < 500
    connection.close()
    assert local.ask("GET", "/healthz")[0] == 200


def test_a_request_that_is_too_large_is_refused(local: HttpServer) -> None:
    assert local.ask(body={**PING, "params": {"_meta": {"padding": "x" * 5_000_000}}})[0] == 413


def test_abrupt_disconnects_do_no_harm(local: HttpServer) -> None:
    head = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    request = head + b"content-length: 500\r\n\r\n{"
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", local.port)) as connection:
            connection.sendall(request)
    assert local.ask()[0] == 200


TOKEN = "a-token-of-its-own"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (None, 401),
    ],
)
def test_only_clients_with_the_token_are_served(
    with_token: HttpServer, authorization: str | None, status: int
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert with_token.ask(host="images.example.com", **headers)[0] == status
    assert with_token.ask("GET", "/anything", **headers)[0] == (404 if status == 200 else 401)


@pytest.fixture(scope="module")
def with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server at every address, with a name and a token."""
    server = HttpServer(
        *("--host", "0.0.0.0", "--allowed-host", "images.example.com"),
        folder=tmp_path_factory.mktemp("images"),
        env={"VLLM_IMAGE_TOKEN": TOKEN},
    )
    yield server
    assert TOKEN not in server.close()


def test_health_needs_no_token_even_if_the_server_has_one(with_token: HttpServer) -> None:
    assert with_token.ask("GET", "/healthz", host="images.example.com")[0] == 200
    assert with_token.ask("GET", "/healthz", host="evil.example")[0] == 421


def test_the_refusal_says_how_to_send_a_token(with_token: HttpServer) -> None:
    _, body = with_token.ask()
    assert b"Authorization: Bearer" in body
    assert TOKEN.encode() not in body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "gpu.example.com"])
def test_no_address_is_open_to_others_without_a_token(host: str) -> None:
    with pytest.raises(UnsafeBinding, match=r"--allowed-host|VLLM_IMAGE_TOKEN"):
        Binding(host=host, port=1)
    with pytest.raises(UnsafeBinding, match="VLLM_IMAGE_TOKEN"):
        Binding(host=host, port=1, allowed_hosts=["images.example.com"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_on_every_address_requires_host_names(host: str) -> None:
    with pytest.raises(UnsafeBinding, match="--allowed-host"):
        Binding(host=host, port=1, needs_token=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert Binding(host=host, port=1).is_local


def test_an_unsafe_address_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "vllm_image_mcp", "serve", "--transport", "http", "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 2
    assert "Name the hosts that clients may use with --allowed-host" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_ends_the_server(start: Start) -> None:
    server = start()
    assert server.stop() in {0, -signal.SIGTERM}
