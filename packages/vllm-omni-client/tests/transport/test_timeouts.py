"""How long connecting, waiting for a slot and silence may last."""

import asyncio
import dataclasses
import socket
import threading

import pytest
from broken_server import (
    DRAWN,
    PICTURE,
    SEEDED,
    SEEDLESS,
    WELL,
    Ask,
    Serve,
    attempts,
    client_of,
    failure,
    is_health,
)
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    ImageGenerationReply,
    OmniClient,
    RequestTimeout,
    ServerUnreachable,
)


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


def test_t03_the_connection_has_a_limit_of_its_own(ask: Ask, blackhole: str) -> None:
    error = failure(
        ask, blackhole, "generate_image", SEEDLESS, connect_timeout=0.1, timeout=8.0, max_retries=3
    )
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.message) == ("timeout", f"{blackhole} does not answer")
    assert attempts(error) == 4


def test_t05_a_slot_is_waited_for_until_the_deadline_and_queries_never_wait(serve: Serve) -> None:
    arrived, leave = threading.Event(), threading.Event()

    def slow(connection: socket.socket, request: bytes) -> bool:
        if not is_health(request):
            arrived.set()
            leave.wait(10)
        connection.sendall(WELL if is_health(request) else PICTURE)
        return False

    url = serve(slow)
    with OmniClient(url, capabilities=Capabilities(), max_connections=1, timeout=10.0) as client:
        first = threading.Thread(target=client.generate_image, args=(SEEDED,))
        first.start()
        assert arrived.wait(5)
        assert client.health_check()
        client._connection = dataclasses.replace(client._connection, timeout_seconds=0.2)
        with pytest.raises(RequestTimeout) as caught:
            client.generate_image(SEEDED)
        leave.set()
        first.join(5)
    assert caught.value.message == f"no connection to {url} was free within 0.2 s: 1 are in use"
    assert caught.value.gpu_spent == "no"


async def test_t05_a_slot_is_waited_for_in_asyncio_too(serve: Serve) -> None:
    arrived, leave = threading.Event(), threading.Event()

    def slow(connection: socket.socket, request: bytes) -> bool:
        arrived.set()
        leave.wait(10)
        connection.sendall(PICTURE)
        return False

    async with AsyncOmniClient(serve(slow), capabilities=Capabilities(), max_connections=1) as client:
        first = asyncio.create_task(client.generate_image(SEEDED))
        assert await asyncio.to_thread(arrived.wait, 5)
        client._connection = dataclasses.replace(client._connection, timeout_seconds=0.2)
        with pytest.raises(RequestTimeout, match="was free within") as caught:
            await client.generate_image(SEEDED)
        leave.set()
        assert await first == DRAWN
    assert caught.value.gpu_spent == "no"


def test_t06_silence_beyond_the_read_timeout_leads_to_another_attempt(ask: Ask, serve: Serve) -> None:
    seen: list[str] = []

    def silent_at_first(connection: socket.socket, request: bytes) -> bool:
        if is_health(request):
            seen.append("health")
            connection.sendall(WELL)
        elif seen:
            connection.sendall(PICTURE)
        elif connection.recv(1) == b"":
            seen.append("left")
        return False

    reply = ask(serve(silent_at_first), "generate_image", SEEDED, read_timeout=1.0)
    assert isinstance(reply, ImageGenerationReply)
    assert reply.receipt
    assert [failure.error for failure in reply.receipt.failures] == ["RequestTimeout"]
    assert "read_timeout" in reply.receipt.failures[0].reason
    assert "health" in seen


def test_t06_silence_within_an_answer_is_silence_too(ask: Ask, serve: Serve) -> None:
    def stops(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        connection.recv(1)
        return False

    error = failure(ask, serve(stops), "generate_image", SEEDLESS, read_timeout=0.2)
    assert isinstance(error, RequestTimeout)
    assert error.gpu_spent == "unknown"
