"""Every failure of a real connection is an error of ours; the ids are those of the list of faults."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from broken_server import (
    DRAWN,
    PICTURE,
    SEEDED,
    SEEDLESS,
    Ask,
    Serve,
    attempts,
    client_of,
    failure,
    reset,
    saying,
)
from vllm_omni_client import BadReply, ConnectionLost, ServerUnreachable


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_t01_a_server_that_is_down_is_reported_at_once(ask: Ask) -> None:
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


def test_t02_an_unknown_host_name_is_distinguished(ask: Ask) -> None:
    error = failure(ask, "http://nowhere.invalid", "get_models", max_retries=0)
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "dns"


def test_a_proxy_that_is_down_is_distinguished_from_the_server(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for url in ("http://gpu.example.com", "https://gpu.example.com:8443"):
        error = failure(ask, url, "get_models", max_retries=0)
        assert isinstance(error, ServerUnreachable)
        assert (error.reason, error.gpu_spent, error.outcome) == ("proxy", "no", "never_sent")
        assert error.message.startswith(f"the proxy to {url} cannot be reached")
        assert "HTTP_PROXY" in error.next_step


def test_a_proxy_that_refuses_to_connect_is_distinguished_from_the_server(
    ask: Ask, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = serve(saying(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", refusing)
    error = failure(ask, "https://gpu.example.com", "get_models", max_retries=0)
    assert isinstance(error, ServerUnreachable)
    assert error.reason == "proxy"
    assert "403" in error.message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux drops")
def test_t03_a_host_that_does_not_answer_is_unreachable_and_no_work_was_started(
    ask: Ask, blackhole: str
) -> None:
    error = failure(ask, blackhole, "generate_image", SEEDLESS, timeout=0.3, max_retries=0)
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, error.gpu_spent) == ("timeout", "no")


def test_t04_plain_http_on_a_tls_address_is_never_retried(ask: Ask, serve: Serve) -> None:
    plain = serve(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    error = failure(ask, plain.replace("http:", "https:"), "get_models")
    assert isinstance(error, ServerUnreachable)
    assert (error.reason, attempts(error)) == ("tls", 1)


@pytest.fixture(scope="module")
def nobodys_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side of TLS, with an untrusted certificate."""
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


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"], ids=["before", "within"]
)
def test_t08_a_reset_is_explained_and_its_outcome_unknown(ask: Ask, serve: Serve, sent: bytes) -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(sent)
        reset(connection)
        return False

    error = failure(ask, serve(script), "generate_image", SEEDLESS)
    assert isinstance(error, ConnectionLost)
    assert len(error.message) > len("the connection to http://127.0.0.1:10000 broke: ")
    assert (error.gpu_spent, attempts(error)) == ("unknown", 1)


def refuses_a_cut(ask: Ask, serve: Serve, cut: bytes) -> None:
    """An incomplete reply is never an image; it is requested once more."""
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


def test_anything_but_http_is_an_unknown_outcome(ask: Ask, serve: Serve) -> None:
    refuses_a_cut(ask, serve, b"SSH-2.0-OpenSSH_9.9\r\n")
