"""A client and its copies share connections; a caller's own HTTP client is used, and stays the caller's."""

import asyncio
import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from broken_server import BODY, DRAWN, PICTURE, SEEDED, Ask, Serve, client_of, failure, reset, saying
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    InvalidParameter,
    OmniClient,
    OmniError,
    RequestTimeout,
    Unauthorized,
)

KNOWN = Capabilities()


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=BODY, headers={"x-seen": request.headers.get("x-team", "")})


def test_an_http_client_of_the_caller_is_used_and_stays_open() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=BODY)

    with httpx.Client(transport=httpx.MockTransport(answer), headers={"x-mine": "1"}) as http:
        with OmniClient("http://gpu:1", api_key="k", http_client=http, capabilities=KNOWN) as client:
            assert client.generate_image(SEEDED) == DRAWN
        assert not http.is_closed
    assert seen[0].headers["x-mine"] == "1"
    assert seen[0].headers["authorization"] == "Bearer k"
    assert seen[0].headers["accept-encoding"] == "identity"


async def test_an_async_http_client_of_the_caller_is_used_and_stays_open() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(echo)) as http:
        async with AsyncOmniClient("http://gpu:1", http_client=http, capabilities=KNOWN) as client:
            assert await client.generate_image(SEEDED) == DRAWN
        assert not http.is_closed


def test_an_http_client_of_the_caller_does_not_follow_redirects_with_our_key() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "gpu"
        return httpx.Response(307, headers={"location": "http://elsewhere/"})

    http = httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True)
    with (
        OmniClient("http://gpu:1", api_key="k", http_client=http, capabilities=KNOWN) as client,
        pytest.raises(OmniError, match="a redirect to elsewhere, which is not followed"),
    ):
        client.generate_image(SEEDED)
    http.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"verify": False},
        {"verify": "ca.pem"},
        {"proxy": "http://proxy:1"},
        {"proxy": False},
        {"transport": httpx.MockTransport(echo)},
    ],
    ids=["verify=False", "verify=path", "proxy=url", "proxy=False", "transport"],
)
def test_settings_that_an_http_client_has_itself_are_refused_next_to_it(settings: dict[str, object]) -> None:
    with httpx.Client() as http, pytest.raises(InvalidParameter) as caught:
        OmniClient("http://gpu:1", http_client=http, **settings)  # type: ignore[arg-type]  # settings of a test
    assert caught.value.parameter == "http_client"


@pytest.mark.parametrize("make", [OmniClient, AsyncOmniClient])
def test_anything_but_an_http_client_is_refused(make: Callable[..., object]) -> None:
    with pytest.raises(InvalidParameter, match="http_client must be an httpx client, not dict"):
        make("http://gpu:1", http_client={})


def test_the_deadline_ends_a_trickling_reply_over_a_reused_connection_of_the_client(
    serve: Serve,
) -> None:
    ended = threading.Event()
    requests: list[bytes] = []

    def trickle(connection: socket.socket, request: bytes) -> bool:
        requests.append(request)
        if len(requests) == 1:
            connection.sendall(PICTURE)
            return True
        connection.sendall(PICTURE[:60])
        while not ended.wait(0.05):
            connection.sendall(b" ")
        return False

    with (
        httpx.Client() as http,
        OmniClient(serve(trickle), http_client=http, capabilities=KNOWN, max_retries=0) as client,
    ):
        client.generate_image(SEEDED)
        with pytest.raises(RequestTimeout):
            client.with_options(timeout=0.5).generate_image(SEEDED)
        ended.set()


def test_a_copy_has_its_own_settings_and_the_same_connections() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, content=BODY)

    transport = httpx.MockTransport(answer)
    client = OmniClient("http://gpu:1", api_key="one", headers={"X-Team": "blue"}, transport=transport)
    other = client.with_options(api_key="two", headers={"x-team": "red", "X-Other": "1"}, timeout=7)
    other.generate_image(SEEDED)
    client.generate_image(SEEDED)
    generations = [headers for headers in seen if "content-type" in headers]
    assert [(one["authorization"], one["x-team"], one.get("x-other")) for one in generations] == [
        ("Bearer two", "red", "1"),
        ("Bearer one", "blue", None),
    ]
    assert [headers for headers in seen if headers not in generations]  # the server was asked what it can do
    asked = len(seen)
    other.generate_image(SEEDED)
    assert len(seen) == asked + 1  # and only once for both
    other.close()
    with pytest.raises(InvalidParameter, match="closed"):
        client.generate_image(SEEDED)


def test_a_copy_retries_as_often_as_it_is_set_to(serve: Serve) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}"
    url = serve(saying(*[busy] * 7, PICTURE))
    with OmniClient(url, max_retries=0, capabilities=KNOWN, sleep=lambda _: None) as client:
        reply = client.with_options(max_retries=9).generate_image(SEEDED)
    assert reply.receipt is not None
    assert reply.receipt.attempts == 8


async def test_an_async_copy_shares_connections_too(serve: Serve) -> None:
    connections: set[socket.socket] = set()

    def one(connection: socket.socket, request: bytes) -> bool:
        connections.add(connection)
        connection.sendall(PICTURE)
        return True

    async with AsyncOmniClient(serve(one), capabilities=KNOWN) as client:
        await client.generate_image(SEEDED)
        await client.with_options(timeout=5).generate_image(SEEDED)
    assert len(connections) == 1


@pytest.mark.parametrize("make", [OmniClient, AsyncOmniClient])
@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"timeout": 0}, "timeout"),
        ({"read_timeout": -1}, "read_timeout"),
        ({"max_retries": 101}, "max_retries"),
        ({"api_key": "a b"}, "api_key"),
        ({"headers": {"a b": "1"}}, "headers"),
        ({"api_key": "k", "headers": {"Authorization": "Basic x"}}, "headers"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_used_is_refused_by_name(
    make: type[OmniClient], options: dict[str, object], parameter: str
) -> None:
    client = make("http://gpu:1")
    with pytest.raises(InvalidParameter) as caught:
        client.with_options(**options)  # type: ignore[arg-type]  # options of a test
    assert caught.value.parameter == parameter


def test_a_health_check_of_a_copy_ends_within_its_time_limit(serve: Serve) -> None:
    release = threading.Event()

    def silent(connection: socket.socket, request: bytes) -> bool:
        release.wait(10)
        return False

    with OmniClient(serve(silent), capabilities=KNOWN) as client, pytest.raises(RequestTimeout):
        client.with_options(timeout=0.2).health_check()
    release.set()


async def test_closing_a_copy_ends_the_calls_of_the_client(serve: Serve) -> None:
    def silent(connection: socket.socket, request: bytes) -> bool:
        return True

    client = AsyncOmniClient(serve(silent), capabilities=KNOWN, max_retries=0)
    call = asyncio.create_task(client.health_check())
    await asyncio.sleep(0)
    await client.with_options(timeout=5).aclose()
    with pytest.raises((OmniError, InvalidParameter)):
        await call


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


def shown(error: BaseException) -> str:
    """What an error reporter may write down: messages, and the locals of all frames but the tests' own."""
    trace: traceback.TracebackException | None = traceback.TracebackException.from_exception(
        error, capture_locals=True
    )
    text = ""
    while trace is not None:
        text += str(trace) + "".join(str(each.locals) for each in trace.stack if "tests" not in each.filename)
        trace = trace.__cause__ or trace.__context__
    return text


def test_no_frame_below_shows_a_header_when_the_request_cannot_be_sent(ask: Ask, serve: Serve) -> None:
    def refuse(connection: socket.socket, request: bytes) -> bool:
        reset(connection)
        return False

    secrets = {"headers": {"X-Token": "CANARY-header"}, "api_key": "CANARY-key", "max_retries": 0}
    for url in (serve(refuse), "http://127.0.0.1:9"):
        error = failure(ask, url, "health_check", **secrets)
        assert "CANARY" not in shown(error)


def test_no_frame_below_shows_a_header_when_its_transport_fails() -> None:
    def break_down(request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        raise httpx.WriteError(f"{len(headers)} headers could not be written")

    client = OmniClient(
        "http://gpu:1",
        headers={"X-Token": "CANARY"},
        transport=httpx.MockTransport(break_down),
        capabilities=KNOWN,
        max_retries=0,
    )
    with client, pytest.raises(OmniError) as caught:
        client.generate_image(SEEDED)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert frames.__cause__ is not None
    assert not [frame for frame in frames.__cause__.stack if "CANARY" in str(frame.locals)]


def test_a_page_that_repeats_a_header_shows_it_nowhere_even_if_the_image_goes_to_a_file(
    serve: Serve, tmp_path: Path
) -> None:
    page = b"<html>you sent CANARY-header and CANARY-key</html>"
    url = serve(saying(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page)))
    secrets: Any = {"headers": {"X-Token": "CANARY-header"}, "api_key": "CANARY-key"}
    with (
        OmniClient(url, capabilities=KNOWN, max_retries=0, **secrets) as client,
        pytest.raises(OmniError, match="an HTML page") as caught,
    ):
        client.generate_image(SEEDED, into=tmp_path / "fox.png")
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("listed", [True, False])
def test_a_gateway_that_does_not_let_health_be_asked_is_healthy_if_it_lists_a_model(
    ask: Ask, status: int, *, listed: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(status)
        return httpx.Response(200, json={"data": [{"id": "m"}] if listed else []})

    assert ask("http://gpu:1", "health_check", transport=httpx.MockTransport(answer)) is listed


def test_a_wrong_key_is_an_error_of_a_health_check(ask: Ask) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json={"error": "Unauthorized"}))
    assert isinstance(failure(ask, "http://gpu:1", "health_check", transport=transport), Unauthorized)
