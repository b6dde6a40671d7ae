"""A reply is received within its limits."""

import socket

import pytest
from broken_server import BODY, DRAWN, PICTURE, SEEDED, SEEDLESS, Ask, Serve, client_of, failure, saying
from vllm_omni_client import BadReply


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["told", "not told"],
)
def test_t13_a_huge_body_is_refused_as_it_arrives(ask: Ask, serve: Serve, head: bytes) -> None:
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


def test_t14_a_compressed_reply_is_refused_unread(ask: Ask, serve: Serve) -> None:
    bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n\x1f\x8b"
    error = failure(ask, serve(saying(bomb)), "generate_image", SEEDLESS)
    assert isinstance(error, BadReply)
    assert "gzip" in error.message


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
def test_t16_unusual_but_valid_replies_are_read(ask: Ask, serve: Serve, reply: bytes) -> None:
    assert ask(serve(saying(reply)), "generate_image", SEEDLESS) == DRAWN


def test_t16_no_content_is_not_an_image(ask: Ask, serve: Serve) -> None:
    error = failure(ask, serve(saying(b"HTTP/1.1 204 No Content\r\n\r\n")), "generate_image", SEEDLESS)
    assert isinstance(error, BadReply)
