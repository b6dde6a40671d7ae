"""The requests of a call, one after the other, on a real socket."""

import socket

import pytest
from broken_server import SEEDED, Ask, Serve, client_of, failure
from vllm_omni_client import ConnectionLost


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return client_of(request.param)


def test_a_dead_server_is_not_asked_again(ask: Ask, serve: Serve) -> None:
    seen: list[bytes] = []

    def dying(connection: socket.socket, request: bytes) -> bool:
        seen.append(request.split(b" ")[1])
        return False

    assert isinstance(failure(ask, serve(dying), "generate_image", SEEDED), ConnectionLost)
    assert seen == [b"/v1/images/generations", b"/health"]
