"""What can go wrong on a real connection; the ids are those of the list of faults."""

import asyncio
import base64
import contextlib
import dataclasses
import gc
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest
from vllm_omni_client import (
    AsyncOmniClient,
    BadReply,
    Capabilities,
    ConnectionLost,
    ImageGenerationReply,
    ImageGenerationRequest,
    InvalidParameter,
    OmniClient,
    OmniError,
    ReplyImage,
    RequestTimeout,
    ServerRefused,
    ServerUnreachable,
)

Script = Callable[[socket.socket, bytes], bool]
Serve = Callable[[Script], str]
Ask = Callable[..., object]

# A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC"
)
SEEDED = ImageGenerationRequest(prompt="a red fox", seed=7)
SEEDLESS = ImageGenerationRequest(prompt="a red fox")
DRAWN = ImageGenerationReply(data=(ReplyImage(bytes=PNG),))
BODY = json.dumps({"data": [{"b64_json": base64.b64encode(PNG).decode()}]}).encode()
PICTURE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of one of the two clients, without waits between attempts."""

    async def ask_async(base_url: str, method: str, *arguments: object, **settings: object) -> object:
        settings = {"timeout": 10.0, "capabilities": Capabilities(), "jitter": lambda: 0.0, **settings}
        async with AsyncOmniClient(base_url, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return await getattr(client, method)(*arguments)

    def ask_sync(base_url: str, method: str, *arguments: object, **settings: object) -> object:
        settings = {"timeout": 10.0, "capabilities": Capabilities(), "jitter": lambda: 0.0, **settings}
        with OmniClient(base_url, **settings) as client:  # type: ignore[arg-type]  # settings of a test
            return getattr(client, method)(*arguments)

    if request.param == "sync":
        return ask_sync
    return lambda *arguments, **settings: asyncio.run(ask_async(*arguments, **settings))


def failure(ask: Ask, *arguments: object, **settings: object) -> OmniError:
    with pytest.raises(OmniError) as caught:
        ask(*arguments, **settings)
    return caught.value


def attempts(error: OmniError) -> int:
    assert error.exchange
    return error.exchange.attempts


def is_health(request: bytes) -> bool:
    return request.startswith(b"GET /health ")


def saying(*replies: bytes) -> Script:
    """Answer generations with one reply after another, the last one for ever, and close; health is good."""
    coming = chain(replies, repeat(replies[-1]))

    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(WELL if is_health(request) else next(coming))
        return False

    return script


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_t01_a_server_that_is_down_is_told_at_once(ask: Ask) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    error = failure(ask, url, "generate_image", SEEDLESS, max_retries=2)
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.gpu_spent, attempts(error)) == ("refused", "no", 3)
    assert url in error.message
    assert "vllm serve" in error.next_step


def test_t01_health_of_a_server_that_is_down_is_asked_once(ask: Ask) -> None:
    error = failure(ask, f"http://localhost:{free_port()}", "health_check")
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, attempts(error)) == ("refused", 1)


def test_t02_a_name_that_is_not_known_is_told_apart(ask: Ask) -> None:
    error = failure(ask, "http://nowhere.invalid", "get_models", max_retries=0)
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "dns"


@pytest.fixture
def blackhole() -> Iterator[str]:
    """A port whose queue of connections is full, so that nothing answers there."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux drops")
def test_t03_a_host_that_does_not_answer_is_unreachable_and_no_work_was_begun(
    ask: Ask, blackhole: str
) -> None:
    error = failure(ask, blackhole, "generate_image", SEEDLESS, timeout=0.3, max_retries=0)
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.gpu_spent) == ("timeout", "no")


def test_t03_the_connection_has_a_limit_of_its_own(ask: Ask, blackhole: str) -> None:
    error = failure(
        ask, blackhole, "generate_image", SEEDLESS, connect_timeout=0.1, timeout=8.0, max_retries=3
    )
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.message) == ("timeout", f"{blackhole} does not answer")
    assert attempts(error) == 4


def test_t04_plain_http_on_a_tls_address_is_never_retried(ask: Ask, serve: Serve) -> None:
    plain = serve(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    error = failure(ask, plain.replace("http:", "https:"), "get_models")
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, attempts(error)) == ("tls", 1)


JOBS = 10_000
PLACES = 32


async def test_t05_ten_thousand_pictures_at_once_share_32_connections_and_none_waits_in_vain() -> None:
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


def test_t05_a_turn_is_waited_for_until_the_deadline_and_questions_never_wait(serve: Serve) -> None:
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


async def test_t05_a_turn_is_waited_for_in_asyncio_too(serve: Serve) -> None:
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


@pytest.fixture(scope="module")
def nobodys_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that no one vouches for."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("it takes openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def test_t04_a_certificate_that_no_one_vouches_for_is_never_retried(
    ask: Ask, nobodys_certificate: ssl.SSLContext
) -> None:
    def greet(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError), connection:
                    nobodys_certificate.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        greeting = threading.Thread(target=greet, args=(listener,), daemon=True)
        greeting.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        error = failure(ask, url, "generate_image", SEEDED, api_key="CANARY")
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    greeting.join(5)
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.gpu_spent, attempts(error)) == ("tls", "no", 1)
    assert "certificate" in error.message
    assert "SSL_CERT_FILE" in error.next_step


def test_t06_a_server_that_says_nothing_is_left_at_the_deadline_and_sees_it(ask: Ask, serve: Serve) -> None:
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


def test_t06_silence_beyond_the_read_timeout_is_followed_by_another_attempt(ask: Ask, serve: Serve) -> None:
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

    reply = ask(serve(silent_at_first), "generate_image", SEEDED, read_timeout=0.2)
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
        for _ in range(250):  # five seconds at most, should nothing end it
            connection.sendall(b"x")
            never.wait(0.02)
        return False

    began = time.monotonic()
    error = failure(ask, serve(trickle), "generate_image", SEEDED, timeout=0.5)
    assert isinstance(error, RequestTimeout)
    assert time.monotonic() - began < 1.5
    assert error.exchange
    assert 0.4 < error.exchange.elapsed_seconds < 1.5


def reset(connection: socket.socket) -> None:
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    )
    connection.close()


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"], ids=["before", "within"]
)
def test_t08_a_reset_has_words_and_an_unknown_outcome(ask: Ask, serve: Serve, sent: bytes) -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(sent)
        reset(connection)
        return False

    error = failure(ask, serve(script), "generate_image", SEEDLESS)
    assert isinstance(error, ConnectionLost)
    assert len(error.message) > len("the connection to http://127.0.0.1:10000 broke: ")
    assert (error.gpu_spent, attempts(error)) == ("unknown", 1)


def refuses_a_cut(ask: Ask, serve: Serve, cut: bytes) -> None:
    """A reply that does not end is never a picture; it is asked for once more."""
    error = failure(ask, serve(saying(cut)), "generate_image", SEEDLESS)
    assert isinstance(error, ConnectionLost | BadReply)
    assert (error.gpu_spent, attempts(error)) == ("unknown", 2)
    assert ask(serve(saying(cut, PICTURE)), "generate_image", SEEDED) == DRAWN
    assert attempts(failure(ask, serve(saying(cut)), "generate_image", SEEDED, max_retries=5)) == 2


def test_t09_an_empty_reply_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b"")


def test_t10_a_reply_shorter_than_its_length_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"data":')


def test_t11_a_reply_cut_between_chunks_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{"data":\r\n')


def test_t12_a_reply_without_a_length_that_ends_early_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b'HTTP/1.1 200 OK\r\n\r\n{"data":')


def test_what_is_no_http_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b"SSH-2.0-OpenSSH_9.9\r\n")


def test_a_server_that_died_is_not_asked_again(ask: Ask, serve: Serve) -> None:
    seen: list[bytes] = []

    def dying(connection: socket.socket, request: bytes) -> bool:
        seen.append(request.split(b" ")[1])
        return False

    assert isinstance(failure(ask, serve(dying), "generate_image", SEEDED), ConnectionLost)
    assert seen == [b"/v1/images/generations", b"/health"]


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["told", "not told"],
)
def test_t13_a_huge_body_is_refused_while_it_comes(ask: Ask, serve: Serve, head: bytes) -> None:
    sent = 0

    def flood(connection: socket.socket, request: bytes) -> bool:
        nonlocal sent
        connection.sendall(head)
        for _ in range(64):
            connection.sendall(b" " * 1024 * 1024)
            sent += 1
        return False

    error = failure(ask, serve(flood), "get_models", max_retries=0)
    assert error.message == "the server's reply is more than 1048576 bytes long"
    assert sent < 32


def test_t13_a_huge_error_is_read_as_far_as_it_is_useful(ask: Ask, serve: Serve) -> None:
    def flood(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nit is too large " + b"x" * 8 * 1024 * 1024)
        return False

    error = failure(ask, serve(flood), "generate_image", SEEDED)
    assert error.message.startswith("the server answered 400: 'it is too large xxx")
    assert len(error.message) < 300


def test_t14_an_encoded_reply_is_refused_unread(ask: Ask, serve: Serve) -> None:
    bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n\x1f\x8b"
    error = failure(ask, serve(saying(bomb)), "generate_image", SEEDLESS)
    assert isinstance(error, BadReply)
    assert "gzip" in error.message


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


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + PICTURE,
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + PICTURE,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    ],
    ids=["100", "103", "1.0", "identity", "chunked"],
)
def test_t16_unusual_but_right_replies_are_read(ask: Ask, serve: Serve, reply: bytes) -> None:
    assert ask(serve(saying(reply)), "generate_image", SEEDLESS) == DRAWN


def test_t16_no_content_is_no_picture(ask: Ask, serve: Serve) -> None:
    error = failure(ask, serve(saying(b"HTTP/1.1 204 No Content\r\n\r\n")), "generate_image", SEEDLESS)
    assert isinstance(error, BadReply)


@pytest.mark.parametrize("proxy", ["junk", "http://me:s3cret@127.0.0.1:1", "socks9://x"])
def test_t17_a_server_on_this_machine_is_reached_past_any_proxy(
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


async def test_t18_a_connection_that_the_server_closed_between_calls_is_made_anew(serve: Serve) -> None:
    connections: set[socket.socket] = set()

    def one_each(connection: socket.socket, request: bytes) -> bool:
        connections.add(connection)
        connection.sendall(PICTURE)
        return False

    async with AsyncOmniClient(serve(one_each), capabilities=Capabilities(), max_retries=0) as client:
        for _ in range(3):
            assert await client.generate_image(SEEDLESS) == DRAWN
    assert len(connections) == 3


async def test_t18_a_connection_that_the_server_closes_as_it_is_used_costs_nothing(serve: Serve) -> None:
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


async def test_calls_one_after_another_share_a_connection(serve: Serve) -> None:
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
def test_connections_of_a_closed_event_loop_are_given_up(serve: Serve) -> None:
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


def test_a_certificate_file_that_is_not_there_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    error = failure(ask, "https://localhost:1", "health_check")
    assert isinstance(error, InvalidParameter)
    assert "SSL_CERT_FILE" in error.message


async def test_cancelling_closes_the_socket_at_once_and_is_not_swallowed(serve: Serve) -> None:
    arrived, left = threading.Event(), threading.Event()

    def silent(connection: socket.socket, request: bytes) -> bool:
        arrived.set()
        if connection.recv(1) == b"":
            left.set()
        return False

    async with AsyncOmniClient(serve(silent), capabilities=Capabilities()) as client, asyncio.timeout(10):
        drawing = asyncio.create_task(client.generate_image(SEEDED))
        assert await asyncio.to_thread(arrived.wait, 5)
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        assert await asyncio.to_thread(left.wait, 5)


async def test_a_callers_own_timeout_stays_the_callers(serve: Serve) -> None:
    def silent(connection: socket.socket, request: bytes) -> bool:
        connection.recv(1)
        return False

    async with AsyncOmniClient(serve(silent), capabilities=Capabilities()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.generate_image(SEEDED)


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


def test_a_call_leaves_no_thread_behind(serve: Serve) -> None:
    with OmniClient(serve(saying(PICTURE)), capabilities=Capabilities()) as client:
        client.generate_image(SEEDLESS)
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        for timer in timers:
            timer.join(5)
            assert not timer.is_alive()
