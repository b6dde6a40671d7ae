"""A call ends at its deadline, whatever the server does."""

import socket
import threading
import time

import pytest
from broken_server import PICTURE, SEEDED, SEEDLESS, Ask, Serve, attempts, client_of, failure, saying
from vllm_omni_client import Capabilities, OmniClient, RequestTimeout


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


def test_t06_a_silent_server_is_given_up_at_the_deadline_and_notices(ask: Ask, serve: Serve) -> None:
    left = threading.Event()

    def silent(connection: socket.socket, request: bytes) -> bool:
        if connection.recv(1) == b"":
            left.set()
        return False

    error = failure(ask, serve(silent), "generate_image", SEEDED, timeout=0.3)
    assert isinstance(error, RequestTimeout)
    assert (error.gpu_spent, attempts(error)) == ("unknown", 1)
    assert error.message.endswith("within 0.3 s")
    assert left.wait(5)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nx-slow: ",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["head", "body", "body without length"],
)
def test_t07_a_trickle_ends_at_the_deadline(ask: Ask, serve: Serve, start: bytes) -> None:
    never = threading.Event()

    def trickle(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(start)
        for _ in range(1500):  # half a minute at most, if nothing else ends it
            connection.sendall(b"x")
            never.wait(0.02)
        return False

    began = time.monotonic()
    error = failure(ask, serve(trickle), "generate_image", SEEDED, timeout=0.5)
    assert isinstance(error, RequestTimeout)
    assert time.monotonic() - began < 15
    assert error.exchange
    assert 0.4 < error.exchange.elapsed_seconds < 15


def test_a_call_leaves_no_thread_behind(serve: Serve) -> None:
    with OmniClient(serve(saying(PICTURE)), capabilities=Capabilities()) as client:
        client.generate_image(SEEDLESS)
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        for timer in timers:
            timer.join(5)
            assert not timer.is_alive()
