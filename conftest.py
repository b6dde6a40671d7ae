"""A server that misbehaves, for the tests of every package: it plays a script on loopback, byte by byte."""

import base64
import contextlib
import json
import re
import socket
import struct
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import pytest

# Gets the connection and one whole request; returns whether the connection stays open for another one.
Script = Callable[[socket.socket, bytes], bool]
# Answers a generation: with the reply to send, or with None to break the connection.
Fault = Callable[[socket.socket], bytes | None]

pytest_plugins = ("canary",)

PRIVILEGE_NOT_HELD: Final = 1314
"""The error of Windows for a symbolic link that this user may not create."""
KLEIN: Final = "black-forest-labs/FLUX.2-klein-4B"
SIDE: Final = 64


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a test that creates a symbolic link, where Windows asks for a privilege."""
    try:
        yield
    except OSError as error:
        if getattr(error, "winerror", None) == PRIVILEGE_NOT_HELD:
            pytest.skip("links need a privilege on Windows")
        raise


@pytest.fixture
def serve() -> Iterator[Callable[[Script], str]]:
    """Start servers on loopback; each answers every request by its script, and is known by its base URL."""
    listeners: list[socket.socket] = []

    def start(script: Script) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, script), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class MisbehavingServer:
    """A klein that counts image requests by their prompt, and answers the first of each in its own way.

    Args:
        fault: What it does with a generation.
        times: With how many generations of each prompt; the later ones get an image.

    Attributes:
        url: Its base URL.
        generations: How many came, by prompt.
    """

    def __init__(self, fault: Fault, times: int) -> None:
        self.url = ""
        self.generations: Counter[str] = Counter()
        self.fault = fault
        self._times = times

    def __call__(self, connection: socket.socket, request: bytes) -> bool:
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, *_ = head.decode("latin-1").split(" ")
        if method != "POST":
            connection.sendall(http(json.dumps(_KNOWN.get(path, {})).encode()))
            return True
        prompt = _prompt(body)
        self.generations[prompt] += 1
        answer = self.fault(connection) if self.generations[prompt] <= self._times else IMAGE_REPLY
        if answer:
            connection.sendall(answer)
        return answer is not None


@pytest.fixture
def misbehave(serve: Callable[[Script], str]) -> Callable[..., MisbehavingServer]:
    """Start a server that answers generations with one of the faults, by its name."""

    def start(fault: str, times: int = 1_000) -> MisbehavingServer:
        server = MisbehavingServer({**MAY_HAVE_COST, **FINAL, **REFUSED}[fault], times)
        server.url = serve(server)
        return server

    return start


def _prompt(body: bytes) -> str:
    if body.startswith(b"{"):
        return json.loads(body)["prompt"]
    found = re.search(rb'name="prompt"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', body, re.DOTALL)
    assert found
    return found[1].decode()


def http(body: bytes, status: int = 200, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


def _png() -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = b"".join(
        b"\0" + bytes(value for x in range(SIDE) for value in (4 * x, 4 * y, x ^ y)) for y in range(SIDE)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


IMAGE: Final = _png()
IMAGE_REPLY: Final = http(
    json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(IMAGE).decode()}]}).encode()
)
_KNOWN: Final = {
    "/v1/models": {"data": [{"id": KLEIN, "root": KLEIN}]},
    "/version": {"version": "0.30.0"},
}


@pytest.fixture(scope="session")
def image_bytes() -> bytes:
    """The image that the misbehaving server sends once it behaves."""
    return IMAGE


def _reset(connection: socket.socket) -> None:
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def _reset_after(sent: bytes) -> Fault:
    def fault(connection: socket.socket) -> bytes | None:
        connection.sendall(sent)
        return _reset(connection)

    return fault


def _silence(connection: socket.socket) -> bytes | None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # returns when the client has gone
    return None


def _says(status: int, body: bytes = b'{"error": {"message": "it failed"}}', head: str = "") -> Fault:
    return lambda _: http(body, status, head)


MAY_HAVE_COST: Final[dict[str, Fault]] = {
    "a reset before a byte": _reset_after(b""),
    "a reset after the headers": _reset_after(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
    "a reset in mid-body": _reset_after(IMAGE_REPLY[:-40]),
    "an empty reply": lambda _: None,
    "the end in mid-body": lambda connection: connection.sendall(IMAGE_REPLY[:-40]),
    "silence": _silence,
    "500": _says(500),
    "502": _says(502, b"<html>Bad Gateway</html>"),
    "520": _says(520, b"<html>Web server is returning an unknown error</html>"),
    "a page": _says(200, b"<html>login</html>"),
    "an image that is none": _says(200, b'{"data": [{"b64_json": "AAAA"}]}'),
}
FINAL: Final[dict[str, Fault]] = {
    "504": _says(504, b"<html>Gateway Time-out</html>"),
    "522": _says(522, b""),
    "524": _says(524, b"<html>A timeout occurred</html>"),
    "out of memory": _says(500, b'{"error": {"message": "HIP out of memory. Tried to allocate 3 GiB"}}'),
    "out of memory in a success": _says(200, b'{"error": {"message": "CUDA out of memory", "code": 500}}'),
    "out of memory of CUBLAS": _says(500, b'{"detail": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"}'),
    "out of memory of the host": _says(500, b'{"detail": "DefaultCPUAllocator: can\'t allocate memory"}'),
    "a refusal in a success": _says(200, b'{"error": {"message": "size is not allowed", "code": 400}}'),
    "400": _says(400),
    "403": _says(403, b"<html>Forbidden</html>"),
    "413": _says(413, b"<html>Request Entity Too Large</html>"),
    "501": _says(501),
}
REFUSED: Final[dict[str, Fault]] = {
    "408": _says(408),
    "408 with a wait": _says(408, head="retry-after: 0\r\n"),
    "429": _says(429),
    "429 with a wait": _says(429, head="retry-after: 0\r\n"),
    "503": _says(503),
    "503 with a wait": _says(503, head="retry-after: 0\r\n"),
    "521": _says(521, b"<html>Web server is down</html>"),
}


@pytest.fixture(params=MAY_HAVE_COST)
def costly_fault(request: pytest.FixtureRequest) -> str:
    """A fault after which the image may have been generated: at most one more request follows."""
    return request.param


@pytest.fixture(params=FINAL)
def final_fault(request: pytest.FixtureRequest) -> str:
    """A fault that would happen again, or whose request still runs: no other request follows."""
    return request.param


@pytest.fixture(params=REFUSED)
def refusal(request: pytest.FixtureRequest) -> str:
    """A refusal before any work: other requests may follow, and cost nothing."""
    return request.param


def _accept(listener: socket.socket, script: Script) -> None:
    with contextlib.suppress(OSError):  # the listener is closed when the test ends
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, script), daemon=True).start()


def _talk(connection: socket.socket, script: Script) -> None:
    with connection, contextlib.suppress(OSError):  # the client may go away in mid-script
        connection.settimeout(20)
        while (request := _request(connection)) and script(connection, request):
            pass


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        received += chunk
        if received.startswith(b"\x16"):  # the hello of TLS: no HTTP will come
            return received
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
