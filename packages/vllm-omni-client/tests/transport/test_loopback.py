"""Requests for localhost go to IPv4 first, and to IPv6 if nothing listens there."""

import socket
import threading
from collections.abc import Callable

import httpx
import pytest
from vllm_omni_client import OmniClient
from vllm_omni_client._transport.loopback import LoopbackTransport

Script = Callable[[socket.socket, bytes], bool]


class Listeners(httpx.BaseTransport):
    """A machine on which something listens on some addresses."""

    def __init__(self, *addresses: str) -> None:
        self.tried: list[str] = []
        self.hosts: list[str] = []
        self._addresses = addresses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.tried.append(request.url.host)
        self.hosts.append(request.headers["host"])
        if request.url.host not in self._addresses:
            raise httpx.ConnectError(f"refused by {request.url.host}", request=request)
        return httpx.Response(200, content=request.read())


def send(listeners: Listeners, url: str) -> httpx.Response:
    with httpx.Client(transport=LoopbackTransport(listeners)) as client:
        return client.post(url, content=b"content")


@pytest.mark.parametrize(
    ("listening", "tried"), [("127.0.0.1", ["127.0.0.1"]), ("::1", ["127.0.0.1", "::1"])]
)
def test_localhost_is_ipv4_first_and_ipv6_if_nothing_listens_there(listening: str, tried: list[str]) -> None:
    listeners = Listeners(listening)
    assert send(listeners, "http://localhost:6655/x").content == b"content"
    assert listeners.tried == tried
    assert set(listeners.hosts) == {"localhost:6655"}


def test_the_address_that_answered_last_comes_first() -> None:
    listeners = Listeners("::1")
    with httpx.Client(transport=LoopbackTransport(listeners)) as client:
        for _ in range(3):
            client.get("http://localhost:6655/x")
    assert listeners.tried == ["127.0.0.1", "::1", "::1", "::1"]


def test_if_nothing_listens_the_error_is_that_of_ipv4() -> None:
    with pytest.raises(httpx.ConnectError, match=r"refused by 127\.0\.0\.1"):
        send(Listeners(), "http://localhost:6655/x")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "gpu", "localhost.example"])
def test_any_other_host_is_left_unchanged(host: str) -> None:
    listeners = Listeners(host.strip("[]"))
    assert send(listeners, f"http://{host}:6655/x").content == b"content"
    assert len(listeners.tried) == 1


def test_the_blocking_client_reaches_a_server_that_listens_on_ipv4_only(
    serve: Callable[[Script], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[object] = []
    resolve = socket.getaddrinfo

    def record(host: object, *rest: object, **options: object) -> object:
        resolved.append(host)
        return resolve(host, *rest, **options)  # type: ignore[arg-type]  # passed on as it came

    def answer(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"data": []}')
        seen.append(request)
        done.set()
        return False

    seen: list[bytes] = []
    done = threading.Event()
    url = serve(answer).replace("127.0.0.1", "localhost")
    monkeypatch.setattr(socket, "getaddrinfo", record)
    with OmniClient(url) as client:
        client.get_models()
    assert done.wait(10)
    assert resolved == ["127.0.0.1"]
    assert f"host: {url.removeprefix('http://')}".encode() in seen[0].lower()
