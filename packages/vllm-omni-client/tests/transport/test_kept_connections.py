"""A blocking client keeps its connection, and a deadline ends requests over a kept one too."""

import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
from vllm_omni_client import Capabilities, ImageGenerationRequest, OmniClient, RequestTimeout
from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._transport.kept_connections import REUSED, KeptConnections

Serve = Callable[[Callable[[socket.socket, bytes], bool]], str]
MODELS = b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"data": []}'
SEEDED = ImageGenerationRequest(prompt="a fox", seed=7)


class Body(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"body"


class Connection(httpx.BaseTransport):
    def __init__(self) -> None:
        self.requests = 0
        self.closed = False
        self.error: Exception | None = None
        self.stream = object()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.error is not None:
            raise self.error
        return httpx.Response(200, stream=Body(), extensions={"network_stream": self.stream})

    def close(self) -> None:
        self.closed = True


class Scene:
    """Kept connections, all that were opened, their clock, and the trace events of the requests."""

    def __init__(self, *, most_idle: int = 10) -> None:
        self.now = 100.0
        self.opened: list[Connection] = []
        self.events: list[tuple[str, object]] = []
        self.kept = KeptConnections(self.open, most_idle=most_idle, idle_seconds=3.0, clock=lambda: self.now)

    def open(self) -> Connection:
        self.opened.append(Connection())
        return self.opened[-1]

    def begin(self) -> httpx.Response:
        def record(event: str, info: dict[str, object]) -> None:
            self.events.append((event, info.get("return_value")))

        return self.kept.handle_request(httpx.Request("GET", "http://server/", extensions={"trace": record}))

    @property
    def counts(self) -> list[int]:
        return [connection.requests for connection in self.opened]


def test_successive_requests_use_one_connection_and_are_told_which() -> None:
    scene = Scene()
    for _ in range(3):
        response = scene.begin()
        assert response.read() == b"body"
        response.close()
    assert scene.counts == [3]
    assert scene.events.count((REUSED, scene.opened[0].stream)) == 2


def test_simultaneous_requests_have_a_connection_each_and_the_last_freed_is_used_next() -> None:
    scene = Scene()
    first, second, third = [scene.begin() for _ in range(3)]
    for response in (third, first, second):
        response.close()
        response.close()  # once is enough
    scene.begin()
    assert scene.counts == [1, 2, 1]


def test_connections_that_were_idle_for_too_long_or_exceed_the_limit_are_closed() -> None:
    scene = Scene(most_idle=2)
    first, second, *others = [scene.begin() for _ in range(4)]
    first.close()
    scene.now += 4.0
    second.close()
    assert [connection.closed for connection in scene.opened] == [True, False, False, False]
    for response in others:
        response.close()
    assert [connection.closed for connection in scene.opened] == [True, True, False, False]


def test_a_failed_request_returns_its_connection_without_its_stream() -> None:
    scene = Scene()
    scene.begin().close()
    scene.opened[0].error = httpx.ReadError("broken")
    with pytest.raises(httpx.ReadError):
        scene.begin()
    scene.opened[0].error = None
    scene.begin().close()
    assert scene.counts == [3]
    assert [event for event, _ in scene.events].count(REUSED) == 1


def test_closing_closes_connections_in_use_too() -> None:
    scene = Scene()
    scene.begin()
    scene.begin().close()
    scene.kept.close()
    assert [connection.closed for connection in scene.opened] == [True, True]


def test_successive_calls_share_a_connection_to_localhost(serve: Serve) -> None:
    connections: set[socket.socket] = set()

    def answer(connection: socket.socket, request: bytes) -> bool:
        connections.add(connection)
        connection.sendall(MODELS)
        return True

    with OmniClient(serve(answer).replace("127.0.0.1", "localhost")) as client:
        for _ in range(3):
            client.get_models()
    assert len(connections) == 1


def test_the_deadline_ends_even_headers_that_trickle_over_a_kept_connection(serve: Serve) -> None:
    ended = threading.Event()
    requests: list[bytes] = []

    def trickle(connection: socket.socket, request: bytes) -> bool:
        requests.append(request)
        if len(requests) == 1:
            connection.sendall(MODELS)
            return True
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not ended.wait(0.05):
            connection.sendall(b"x")
        return False

    with OmniClient(serve(trickle), capabilities=Capabilities(), timeout=0.5, max_retries=0) as client:
        client.get_models()
        with pytest.raises(RequestTimeout):
            client.generate_image(SEEDED)
        ended.set()
    assert len(requests) == 2


def test_a_deadline_that_passes_after_the_reply_leaves_the_next_request_of_its_connection_alone() -> None:
    one, other = socket.socketpair()
    cuts: list[ConnectionTrace] = []

    class Stream(Body):
        def get_extra_info(self, info: str) -> object:
            return one if info == "socket" else None

    class Transport(Connection):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            cuts.append(request.extensions["trace"].__self__)
            return httpx.Response(503, stream=Stream(), extensions={"network_stream": Stream()})

    kept = KeptConnections(Transport, most_idle=1, idle_seconds=3.0)
    with one, other, OmniClient("http://gpu:1", transport=kept) as client:
        assert not client.health_check()
        for trace in cuts:
            trace.cut()  # as a deadline does that passes now
        one.sendall(b"still open")
        assert other.recv(100) == b"still open"
