"""Fixtures that the tests of the client share: a loopback server that plays a script, byte by byte."""

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vllm_omni_client._imaging import base64_text

TESTS = Path(__file__).parent
# Pillow and the simulator come with extras: without them, what needs them on import is not collected.
EXTRAS = {"PIL": "\nfrom PIL ", "starlette": "\nfrom vllm_omni_client.simulator"}
collect_ignore = [
    str(path.relative_to(TESTS))
    for package, needed in EXTRAS.items()
    if importlib.util.find_spec(package) is None
    for path in TESTS.rglob("test_*.py")
    if needed in path.read_text("utf-8")
]

# Gets the connection and one whole request; returns whether the connection stays open for another one.
Script = Callable[[socket.socket, bytes], bool]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["pybase64", "standard library"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode base64 by pybase64, which comes with the extra `fast`, and once more as without it."""
    if request.param == "standard library":
        monkeypatch.setattr(base64_text, "_fast", None)
    else:
        pytest.importorskip("pybase64", reason="it comes with the extra `fast`")
    return request.param


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
