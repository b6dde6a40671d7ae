"""Connections: how many, for how long, through which proxy, and to whom they lead."""

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_server import DRAWN, PICTURE, SEEDED, SEEDLESS, Ask, Serve, client_of, failure, saying
from tls_gateway import HEADER, TOKEN, Gateway, tls_gateway
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    InvalidParameter,
    OmniClient,
    ServerRefused,
    ServerUnreachable,
    Unauthorized,
)


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


JOBS = 10_000
PLACES = 32


async def test_t05_ten_thousand_simultaneous_images_share_32_connections_and_none_starves() -> None:
    now = most = 0
    places = asyncio.Semaphore(PLACES)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        # A connection may replace another one whose end has not arrived yet; one too many gets no place.
        async with asyncio.timeout(60):
            await places.acquire()
        now += 1
        most = max(most, now)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                writer.write(PICTURE)
        now -= 1
        places.release()
        writer.close()

    drawn = 0
    async with (
        asyncio.timeout(3_600),
        await asyncio.start_server(talk, "127.0.0.1", 0) as server,
        AsyncOmniClient(
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            capabilities=Capabilities(),
            max_connections=PLACES,
            max_retries=0,
            timeout=3_600.0,
        ) as client,
        asyncio.TaskGroup() as group,
    ):

        async def draw() -> None:
            nonlocal drawn
            picture = await client.generate_image(SEEDED)
            drawn += picture == DRAWN

        for _ in range(JOBS):
            group.create_task(draw())
    assert drawn == JOBS
    assert most == PLACES


def test_t15_a_redirect_is_not_followed_and_the_key_goes_nowhere(ask: Ask, serve: Serve) -> None:
    elsewhere: list[bytes] = []

    def other(connection: socket.socket, request: bytes) -> bool:
        elsewhere.append(request)
        return False

    target = serve(other).replace("127.0.0.1", "localhost")
    redirect = (
        f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}/x\r\ncontent-length: 0\r\n\r\n".encode()
    )
    error = failure(ask, serve(saying(redirect)), "generate_image", SEEDED, api_key="k")
    assert isinstance(error, ServerRefused)
    assert "a redirect to localhost, which is not followed" in error.message
    assert elsewhere == []


@pytest.mark.parametrize("proxy", ["junk", "http://me:s3cret@127.0.0.1:1", "socks9://x"])
def test_t17_a_server_on_this_machine_is_reached_without_a_proxy(
    ask: Ask, serve: Serve, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    assert ask(serve(saying(PICTURE)), "generate_image", SEEDLESS) == DRAWN


def test_t17_a_public_server_is_reached_through_the_proxy(
    ask: Ask, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    def proxy(connection: socket.socket, request: bytes) -> bool:
        seen.append(request.split(b"\r\n")[0])
        connection.sendall(PICTURE)
        return False

    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, serve(proxy))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert ask("http://gpu.example:8000", "generate_image", SEEDLESS) == DRAWN
    assert seen == [b"POST http://gpu.example:8000/v1/images/generations HTTP/1.1"]


def test_t17_a_proxy_setting_that_cannot_be_used_is_named_and_not_repeated(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "gopher://me:s3cret@proxy")
    error = failure(ask, "http://gpu.example:8000", "health_check")
    assert isinstance(error, InvalidParameter)
    assert "HTTP_PROXY" in error.message
    assert "s3cret" not in error.message


async def test_t18_a_connection_that_the_server_closed_between_calls_is_opened_again(serve: Serve) -> None:
    connections: set[socket.socket] = set()

    def one_each(connection: socket.socket, request: bytes) -> bool:
        connections.add(connection)
        connection.sendall(PICTURE)
        return False

    async with AsyncOmniClient(serve(one_each), capabilities=Capabilities(), max_retries=0) as client:
        for _ in range(3):
            assert await client.generate_image(SEEDLESS) == DRAWN
    assert len(connections) == 3


async def test_t18_a_connection_that_the_server_closes_on_reuse_costs_nothing(serve: Serve) -> None:
    requests: list[bytes] = []

    def closes_on_the_second(connection: socket.socket, request: bytes) -> bool:
        requests.append(request)
        if len(requests) == 2:
            return False
        connection.sendall(PICTURE)
        return True

    async with AsyncOmniClient(
        serve(closes_on_the_second), capabilities=Capabilities(), max_retries=0
    ) as client:
        assert await client.generate_image(SEEDLESS) == DRAWN
        assert await client.generate_image(SEEDLESS) == DRAWN
    assert len(requests) == 3


async def test_successive_calls_share_a_connection(serve: Serve) -> None:
    connections: set[socket.socket] = set()

    def keeps(connection: socket.socket, request: bytes) -> bool:
        connections.add(connection)
        connection.sendall(PICTURE)
        return True

    async with AsyncOmniClient(serve(keeps), capabilities=Capabilities()) as client:
        for _ in range(3):
            await client.generate_image(SEEDLESS)
    assert len(connections) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_of_a_closed_event_loop_are_dropped(serve: Serve) -> None:
    def keeps(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(PICTURE)
        return True

    client = AsyncOmniClient(serve(keeps), capabilities=Capabilities(), max_retries=0)
    for _ in range(3):
        assert asyncio.run(client.generate_image(SEEDLESS)) == DRAWN
    asyncio.run(client.aclose())
    gc.collect()  # the sockets of the closed loops are closed here, with a warning of asyncio's own


async def test_a_client_of_another_running_event_loop_is_refused(serve: Serve) -> None:
    async with AsyncOmniClient(serve(saying(PICTURE)), capabilities=Capabilities()) as client:
        await client.generate_image(SEEDLESS)
        with pytest.raises(InvalidParameter, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(client.generate_image(SEEDLESS)))


def test_a_missing_certificate_file_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error = failure(ask, "https://localhost:1", "health_check")
    assert isinstance(error, InvalidParameter)
    assert "SSL_CERT_FILE" in error.message


def test_a_blocking_client_serves_many_threads(serve: Serve) -> None:
    drawn: list[object] = []
    with OmniClient(serve(saying(PICTURE)), capabilities=Capabilities(), timeout=10.0) as client:
        threads = [
            threading.Thread(target=lambda: drawn.append(client.generate_image(SEEDED))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert drawn == [DRAWN] * 8


@pytest.fixture
def gateway(serve: Serve, tmp_path: Path) -> Iterator[Gateway]:
    with tls_gateway(serve(saying(PICTURE)), tmp_path) as gateway:
        yield gateway


@pytest.mark.parametrize("given", ["path", "text", "context"])
def test_a_gateway_with_an_internal_ca_a_header_and_a_key_works(
    ask: Ask, gateway: Gateway, given: str
) -> None:
    verify = {
        "path": gateway.ca_file,
        "text": str(gateway.ca_file),
        "context": ssl.create_default_context(cafile=gateway.ca_file),
    }[given]
    drawn = ask(
        gateway.url, "generate_image", SEEDED, verify=verify, headers={HEADER: TOKEN}, api_key="omni-key"
    )
    assert drawn == DRAWN
    [head] = gateway.heads
    assert b"\r\nauthorization: Bearer omni-key\r\n" in head


def test_the_ca_of_the_environment_is_used_for_a_gateway(
    ask: Ask, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(gateway.ca_file))
    assert ask(gateway.url, "generate_image", SEEDED, headers={HEADER: TOKEN}) == DRAWN


def test_an_unchecked_certificate_is_accepted(ask: Ask, gateway: Gateway) -> None:
    assert ask(gateway.url, "generate_image", SEEDED, headers={HEADER: TOKEN}, verify=False) == DRAWN


def test_a_certificate_of_an_unknown_ca_is_refused_once_and_the_error_says_what_to_do(
    ask: Ask, gateway: Gateway
) -> None:
    error = failure(ask, gateway.url, "generate_image", SEEDED, headers={HEADER: TOKEN})
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "tls"
    assert "`verify`" in error.next_step
    assert gateway.heads == []


def test_only_the_given_ca_is_trusted(ask: Ask, gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with tls_gateway("http://127.0.0.1:1", tmp_path / "other") as other:
        error = failure(ask, gateway.url, "health_check", verify=other.ca_file)
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "tls"


def test_a_gateway_that_refuses_the_header_shows_it_nowhere(ask: Ask, gateway: Gateway) -> None:
    error = failure(
        ask, gateway.url, "health_check", verify=gateway.ca_file, headers={HEADER: "CANARY-wrong"}
    )
    assert isinstance(error, Unauthorized)
    assert error.by_proxy
    assert "`headers`" in error.next_step
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = [str(frame.locals) for frame in trace.stack if "tests" not in frame.filename]
    assert shown
    assert "CANARY" not in "".join(shown)


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_a_ca_file_without_certificates_is_named(ask: Ask, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    error = failure(ask, "http://localhost:1", "health_check", verify=file)
    assert isinstance(error, InvalidParameter)
    assert error.parameter == "verify"
    assert "ca.pem" in error.message


@pytest.mark.parametrize("verify", [None, 7, b"ca.pem"])
def test_anything_but_certificate_settings_is_refused(ask: Ask, verify: object) -> None:
    error = failure(ask, "https://localhost:1", "health_check", verify=verify)
    assert isinstance(error, InvalidParameter)
    assert error.parameter == "verify"


def test_a_given_proxy_is_used_even_for_a_server_on_this_machine(ask: Ask, serve: Serve) -> None:
    seen: list[bytes] = []

    def proxy(connection: socket.socket, request: bytes) -> bool:
        seen.append(request.split(b"\r\n")[0])
        connection.sendall(PICTURE)
        return False

    address = serve(proxy).replace("http://", "http://me:CANARY@")
    assert ask("http://127.0.0.1:9", "generate_image", SEEDLESS, proxy=address) == DRAWN
    assert seen == [b"POST http://127.0.0.1:9/v1/images/generations HTTP/1.1"]


def test_no_proxy_is_used_if_none_is_wanted(ask: Ask, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", serve(saying(PICTURE)))
    monkeypatch.setenv("http_proxy", serve(saying(PICTURE)))
    error = failure(ask, "http://gpu.invalid:8000", "health_check", proxy=False)
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "dns"


@pytest.mark.parametrize("proxy", ["CANARY", "gopher://me:CANARY@proxy", "socks9://CANARY", 7, True])
def test_a_proxy_that_cannot_be_used_is_refused_and_not_repeated(ask: Ask, proxy: object) -> None:
    error = failure(ask, "http://localhost:1", "health_check", proxy=proxy)
    assert isinstance(error, InvalidParameter)
    assert error.parameter == "proxy"
    assert "CANARY" not in error.message
