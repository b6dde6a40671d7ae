"""Find out why a connection failed, from the errors behind an error."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final, cast

from vllm_omni_client.errors import UnreachableReason

# Limits the depth, because errors can be chained in a circle by hand.
_DEEPEST: Final = 32


def unreachable_reason(error: BaseException) -> UnreachableReason:
    """Distinguish an unknown host name, a refused port, a timeout and a TLS failure.

    httpx raises the same class for all of them; only its causes differ.
    """
    behind = list(_chain(error, _DEEPEST))
    if any(isinstance(one, socket.gaierror) for one in behind):
        return "dns"
    if any(isinstance(one, ssl.SSLError) for one in behind):
        return "tls"
    if any(isinstance(one, ConnectionRefusedError) for one in behind):
        return "refused"
    return "timeout" if any(isinstance(one, TimeoutError) for one in behind) else "other"


def _chain(error: BaseException | None, depth: int) -> Iterator[BaseException]:
    if error is None or depth == 0:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _chain(one, depth - 1)
    yield from _chain(error.__cause__ or error.__context__, depth - 1)


def first_message(error: BaseException) -> str:
    """Return the first non-empty message of an error and those behind it; httpx's own is often empty."""
    texts = (str(one) for one in _chain(error, _DEEPEST))
    return next((text for text in texts if text), type(error).__name__)
