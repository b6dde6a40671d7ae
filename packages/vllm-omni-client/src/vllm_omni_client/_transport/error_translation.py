"""Translate httpx's errors into this package's own."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx

from vllm_omni_client._protocol.connect_errors import first_message, unreachable_reason
from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client.errors import ConnectionLost, OmniError, RequestTimeout, ServerUnreachable


@contextmanager
def translate_errors(base_url: str, trace: ConnectionTrace) -> Generator[None]:
    """Raise this package's error in place of an httpx error."""
    try:
        yield
    except httpx.HTTPError as error:
        raise _translation(error, base_url, stale=trace.was_stale()) from error


def _translation(error: httpx.HTTPError, base_url: str, *, stale: bool) -> OmniError:
    match error:
        case httpx.ConnectTimeout():
            return ServerUnreachable(f"{base_url} does not answer", reason="timeout")
        case httpx.ConnectError() | httpx.ProxyError():
            message = f"{base_url} cannot be reached: {first_message(error)}"
            return ServerUnreachable(message, reason=unreachable_reason(error))
        case httpx.PoolTimeout() | httpx.WriteTimeout():
            return RequestTimeout(f"the request could not be sent to {base_url} in time", gpu_spent="no")
        case httpx.TimeoutException():
            return RequestTimeout(f"{base_url} sent nothing for longer than read_timeout allows")
        case _:
            message = f"the connection to {base_url} broke: {first_message(error)}"
            return ConnectionLost(message, stale=stale)
