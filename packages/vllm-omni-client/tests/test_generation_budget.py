"""One image is paid for twice at most, whatever a server does; counted where the requests arrive."""

import asyncio
import base64
import contextlib
import io
import json
import socket
import struct
import sys
from collections.abc import Callable

import pytest
from PIL import Image
from vllm_omni_client import (
    AsyncOmniClient,
    Capabilities,
    ImageEditRequest,
    ImageGenerationReply,
    ImageGenerationRequest,
    OmniClient,
    OmniError,
)
from vllm_omni_client.errors import BadReply, ConnectionLost, ServerBusy, ServerError
from vllm_omni_client.generation_budget import GenerationBudget

Script = Callable[[socket.socket, bytes], bool]
Serve = Callable[[Script], str]
Draw = Callable[..., ImageGenerationReply]
Fault = Callable[[socket.socket], bytes | None]

REQUEST = ImageGenerationRequest(prompt="a fox", size="4x3", seed=7)
DEADLINE_SECONDS = 60


def drawn() -> bytes:
    picture = Image.new("RGB", (4, 3), "red")
    picture.putpixel((3, 2), (1, 2, 3))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def http(body: bytes, status: int = 200, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


PICTURE = http(json.dumps({"data": [{"b64_json": base64.b64encode(drawn()).decode()}]}).encode())


class Counting:
    """A script that counts generations, and answers the first of them in a way of its own.

    Args:
        fault: What it does with a generation; the reply that it returns is sent, None breaks the connection.
        times: How many generations it meets; the later ones get a picture.
    """

    def __init__(self, fault: Fault, times: int = 1_000) -> None:
        self.generations = 0
        self._fault = fault
        self._times = times

    def __call__(self, connection: socket.socket, request: bytes) -> bool:
        if not request.startswith(b"POST"):
            connection.sendall(http(b"{}"))
            return True
        self.generations += 1
        answer = self._fault(connection) if self.generations <= self._times else PICTURE
        if answer:
            connection.sendall(answer)
        return answer is not None


def reset(connection: socket.socket) -> None:
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def reset_after(sent: bytes) -> Fault:
    def fault(connection: socket.socket) -> bytes | None:
        connection.sendall(sent)
        return reset(connection)

    return fault


def silent(connection: socket.socket) -> bytes | None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # returns when the client has gone
    return None


def patience_with(fault: object) -> float | None:
    """The read timeout: short only where the server says nothing."""
    return 0.3 if fault is silent else None


def says(status: int, body: bytes = b'{"error": {"message": "it failed"}}', head: str = "") -> Fault:
    return lambda _: http(body, status, head)


MAY_HAVE_COST: dict[str, Fault] = {
    "a reset before a byte": reset_after(b""),
    "a reset after the headers": reset_after(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
    "a reset in mid-body": reset_after(PICTURE[:-40]),
    "an empty reply": lambda _: None,
    "the end in mid-body": lambda connection: connection.sendall(PICTURE[:-40]),
    "silence": silent,
    "500": says(500),
    "502": says(502, b"<html>Bad Gateway</html>"),
    "520": says(520, b"<html>Web server is returning an unknown error</html>"),
    "a page": says(200, b"<html>login</html>"),
    "a picture that is none": says(200, b'{"data": [{"b64_json": "AAAA"}]}'),
}
SENT_ONCE: dict[str, Fault] = {
    "504": says(504, b"<html>Gateway Time-out</html>"),
    "522": says(522, b""),
    "524": says(524, b"<html>A timeout occurred</html>"),
    "out of memory": says(500, b'{"error": {"message": "HIP out of memory. Tried to allocate 3 GiB"}}'),
    "out of memory in a success": says(200, b'{"error": {"message": "CUDA out of memory", "code": 500}}'),
    "a refusal in a success": says(200, b'{"error": {"message": "size is not allowed", "code": 400}}'),
    "400": says(400),
    "403": says(403, b"<html>Forbidden</html>"),
    "413": says(413, b"<html>Request Entity Too Large</html>"),
    "501": says(501),
}
REFUSED: dict[str, Fault] = {
    "408": says(408),
    "429": says(429),
    "429 with a wait": says(429, head="retry-after: 0\r\n"),
    "503": says(503),
    "503 with a wait": says(503, head="retry-after: 0\r\n"),
    "521": says(521, b"<html>Web server is down</html>"),
}


@pytest.fixture(params=["async", "async over a used connection", "sync"])
def draw(request: pytest.FixtureRequest) -> Draw:
    """Ask one of the two clients for a picture."""
    settings = {"timeout": 20.0, "jitter": lambda: 0.0, "capabilities": Capabilities()}

    async def in_async(url: str, **more: object) -> object:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            AsyncOmniClient(url, **{**settings, **more}) as client,  # type: ignore[arg-type]  # of a test
        ):
            if "used" in request.param:
                await client.health_check()
            return await client.generate_image(REQUEST)

    def ask(url: str, **more: object) -> object:
        if request.param != "sync":
            return asyncio.run(in_async(url, **more))
        with OmniClient(url, **{**settings, **more}) as client:  # type: ignore[arg-type]  # of a test
            return client.generate_image(REQUEST)

    return ask  # type: ignore[return-value]  # a reply, as no file was asked for


@pytest.mark.parametrize("fault", MAY_HAVE_COST.values(), ids=MAY_HAVE_COST)
def test_what_may_have_cost_is_sent_twice_at_most_and_all_of_it_is_told(
    draw: Draw, serve: Serve, fault: Fault
) -> None:
    server = Counting(fault)
    with pytest.raises(OmniError) as caught:
        draw(serve(server), max_retries=5, read_timeout=patience_with(fault))
    assert server.generations == 2
    exchange = caught.value.exchange
    assert exchange
    assert (exchange.attempts, exchange.generations, len(caught.value.failures)) == (2, 2, 1)
    assert caught.value.gpu_spent != "no"


@pytest.mark.parametrize("fault", MAY_HAVE_COST.values(), ids=MAY_HAVE_COST)
def test_a_second_request_that_succeeds_is_told_in_the_receipt(
    draw: Draw, serve: Serve, fault: Fault
) -> None:
    server = Counting(fault, times=1)
    reply = draw(serve(server), read_timeout=patience_with(fault))
    assert reply.data[0].bytes == drawn()
    assert reply.receipt
    assert (server.generations, reply.receipt.attempts) == (2, 2)


@pytest.mark.parametrize("fault", SENT_ONCE.values(), ids=SENT_ONCE)
def test_what_would_fail_again_or_still_runs_is_sent_once(draw: Draw, serve: Serve, fault: Fault) -> None:
    server = Counting(fault)
    with pytest.raises(OmniError) as caught:
        draw(serve(server), max_retries=5)
    assert server.generations == 1
    assert caught.value.outcome == "final"
    assert caught.value.exchange
    assert caught.value.exchange.attempts == 1


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
def test_what_was_refused_is_sent_again_as_often_as_is_allowed_and_costs_nothing(
    draw: Draw, serve: Serve, fault: Fault
) -> None:
    server = Counting(fault)
    with pytest.raises(OmniError) as caught:
        draw(serve(server), max_retries=2)
    assert server.generations == 3
    assert caught.value.exchange
    assert (caught.value.exchange.attempts, caught.value.exchange.generations) == (3, 0)
    assert caught.value.gpu_spent == "no"


async def test_an_idle_connection_that_breaks_as_it_is_used_is_replaced_at_once_and_told(
    serve: Serve,
) -> None:
    server = Counting(lambda _: None, times=1)
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        AsyncOmniClient(serve(server), capabilities=Capabilities(), max_retries=0) as client,
    ):
        await client.health_check()
        reply = await client.generate_image(REQUEST)
    assert reply.receipt
    assert [failure.error for failure in reply.receipt.failures] == ["ConnectionLost"]
    assert reply.receipt.failures[0].waited_seconds == 0.0
    assert server.generations == 2


async def test_two_clients_that_share_a_budget_send_no_more_than_one_would(serve: Serve) -> None:
    server = Counting(lambda _: None)
    budget = GenerationBudget()
    failures: list[ConnectionLost] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        for _ in range(2):
            async with AsyncOmniClient(serve(server), capabilities=Capabilities(), max_retries=0) as client:
                with pytest.raises(ConnectionLost) as caught:
                    await client.with_budget(budget).generate_image(REQUEST)
            failures.append(caught.value)
    assert (server.generations, budget.left, budget.spent) == (2, 0, 2)
    assert failures[-1].exchange
    assert (failures[-1].exchange.attempts, failures[-1].exchange.generations) == (2, 2)
    assert [failure.error for failure in failures[-1].failures] == ["ConnectionLost"]


def test_two_blocking_clients_that_share_a_budget_send_no_more_than_one_would(serve: Serve) -> None:
    server = Counting(lambda _: None)
    budget = GenerationBudget()
    failures: list[ConnectionLost] = []
    for _ in range(2):
        client = OmniClient(serve(server), capabilities=Capabilities(), max_retries=0)
        with client, pytest.raises(ConnectionLost) as caught:
            client.with_budget(budget).generate_image(REQUEST)
        failures.append(caught.value)
    assert (server.generations, budget.left, budget.spent) == (2, 0, 2)
    assert [failure.error for failure in failures[-1].failures] == ["ConnectionLost"]


def test_a_blocking_edit_spends_from_the_budget_of_its_image(serve: Serve) -> None:
    server = Counting(lambda _: http(b"{}", 500))
    budget = GenerationBudget(left=1)
    client = OmniClient(serve(server), capabilities=Capabilities())
    with client, pytest.raises(ServerError):
        client.with_budget(budget).edit_image(ImageEditRequest(prompt="a fox", seed=7), drawn())
    assert (server.generations, budget.left) == (1, 0)


def test_a_budget_counts_what_another_client_has_repeated_on_its_own() -> None:
    budget = GenerationBudget()
    error = ServerError("x", status=500)
    budget.start_attempt(lambda: 0.0)
    budget.record_failure(error, 0.0, cost=error.gpu_spent)
    assert (budget.attempts, budget.spent, budget.left) == (1, 1, 1)
    budget.start_attempt(lambda: 2.5)
    budget.record_failure(ServerBusy("y", status=429), 3.0, cost="no")
    assert (budget.attempts, budget.spent, budget.left) == (2, 1, 1)
    assert [(failure.error, failure.waited_seconds) for failure in budget.failures] == [("ServerError", 2.5)]


def test_one_attempt_is_charged_once() -> None:
    budget = GenerationBudget()
    budget.start_attempt(lambda: 0.0)
    budget.charge("unknown")
    budget.record_failure(BadReply("x"), 0.0, cost="unknown")
    assert (budget.spent, budget.left, budget.gpu_spent) == (1, 1, "unknown")
