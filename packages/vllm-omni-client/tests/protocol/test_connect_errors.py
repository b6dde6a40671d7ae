"""The reason of a failed connection is found in the chain of errors, however deep."""

import socket
import ssl
from itertools import pairwise

import pytest
from vllm_omni_client._protocol.connect_errors import first_message, unreachable_reason


def chained(*errors: BaseException) -> BaseException:
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dns"),
        (ssl.SSLCertVerificationError("self-signed"), "tls"),
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (TimeoutError("timed out"), "timeout"),
        (OSError(101, "Network is unreachable"), "other"),
        (ExceptionGroup("all failed", [OSError("v6"), ConnectionRefusedError("v4")]), "refused"),
    ],
)
def test_the_reason_is_found_in_the_chain_of_errors(behind: Exception, reason: str) -> None:
    assert (
        unreachable_reason(chained(RuntimeError(), OSError("All connection attempts failed"), behind))
        == reason
    )


def test_a_context_counts_as_a_cause() -> None:
    error = RuntimeError()
    error.__context__ = ConnectionRefusedError()
    assert unreachable_reason(error) == "refused"


def test_a_circular_chain_of_causes_ends() -> None:
    one, other = RuntimeError(), RuntimeError()
    assert unreachable_reason(chained(one, other, one)) == "other"


def test_the_first_message_comes_from_the_first_error_that_has_one() -> None:
    assert first_message(chained(RuntimeError(""), OSError(""), ConnectionResetError("reset"))) == "reset"
    assert first_message(RuntimeError()) == "RuntimeError"
