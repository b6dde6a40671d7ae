"""What was learnt about a server is cached for a while, and expires if the server may have changed."""

import pytest
from vllm_omni_client._protocol.known_server import KnownServer
from vllm_omni_client.capabilities import Capabilities
from vllm_omni_client.errors import (
    BadRequest,
    ConnectionLost,
    NotFound,
    OmniError,
    ServerBusy,
    ServerUnreachable,
)

OLD = Capabilities.of_version("0.26.0")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_capabilities_are_valid_for_five_minutes_and_renewed_by_the_same_version() -> None:
    clock = Clock()
    server = KnownServer(clock)
    assert server.current is None
    assert server.learn(OLD) is OLD
    clock.now = 299.0
    assert server.current is OLD
    clock.now = 300.0
    assert server.current is None
    assert server.renew("0.30.0") is None
    assert server.renew(None) is None
    assert server.renew("0.26.0") is OLD
    assert server.current is OLD


def test_a_failure_to_learn_them_is_valid_for_ten_seconds() -> None:
    clock = Clock()
    server = KnownServer(clock)
    server.learn(Capabilities())
    server.expire_after(ServerUnreachable("gone"))
    clock.now = 9.0
    assert server.current == Capabilities()
    clock.now = 10.0
    assert server.current is None
    assert server.renew(None) is None


@pytest.mark.parametrize(
    "error",
    [
        ServerUnreachable("gone"),
        ConnectionLost("gone"),
        BadRequest("no", status=400),
        NotFound("no", status=404),
    ],
)
def test_an_error_that_another_server_would_explain_expires_them(error: OmniError) -> None:
    server = KnownServer(Clock())
    server.learn(OLD)
    server.expire_after(error)
    assert server.current is None
    assert server.renew("0.26.0") is OLD


def test_a_busy_server_is_still_the_same() -> None:
    server = KnownServer(Clock())
    server.learn(OLD)
    server.expire_after(ServerBusy("later", status=503))
    assert server.current is OLD


def test_another_version_seen_in_passing_is_another_server() -> None:
    server = KnownServer(Clock())
    server.note_version("0.26.0")
    server.learn(OLD)
    server.note_version("0.26.0")
    assert server.current is OLD
    server.note_version("0.30.0")
    assert server.current is None
    assert server.renew("0.26.0") is None


def test_capabilities_from_the_caller_never_expire() -> None:
    server = KnownServer(Clock(), OLD)
    server.expire_after(ServerUnreachable("gone"))
    assert server.current is OLD
