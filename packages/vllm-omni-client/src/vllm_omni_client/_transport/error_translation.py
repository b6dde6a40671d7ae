"""Translate httpx's errors into this package's own."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx

from vllm_omni_client._protocol.connect_errors import first_message, unreachable_reason
from vllm_omni_client._protocol.connection_trace import ConnectionTrace
from vllm_omni_client._transport.loopback import LOOPBACK_HOSTS
from vllm_omni_client.errors import ConnectionLost, OmniError, RequestTimeout, ServerUnreachable


@contextmanager
def translate_errors(base_url: str, trace: ConnectionTrace) -> Generator[None]:
    """Raise this package's error in place of an httpx error."""
    try:
        yield
    except httpx.HTTPError as error:
        raise _translation(error, base_url, trace) from _without_frames(error)


def _without_frames(error: httpx.HTTPError) -> httpx.HTTPError:
    """Drop the frames of httpx and below, whose locals hold headers that error reporters would write down."""
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    return error


def _translation(error: httpx.HTTPError, base_url: str, trace: ConnectionTrace) -> OmniError:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.ProxyError():
            return _unreachable(error, base_url, trace)
        case httpx.PoolTimeout() | httpx.WriteTimeout():
            return RequestTimeout(f"the request could not be sent to {base_url} in time", gpu_spent="no")
        case httpx.TimeoutException():
            return RequestTimeout(f"{base_url} sent nothing for longer than read_timeout allows")
        case _:
            message = f"the connection to {base_url} broke: {first_message(error)}"
            return ConnectionLost(message, stale=trace.was_stale())


def _unreachable(error: httpx.HTTPError, base_url: str, trace: ConnectionTrace) -> ServerUnreachable:
    if isinstance(error, httpx.ProxyError):
        message = f"the proxy cannot connect to {base_url}: {first_message(error)}"
        return ServerUnreachable(message, reason="proxy")
    if _is_another(trace.peer, base_url):
        message = f"the proxy to {base_url} cannot be reached: {first_message(error)}"
        return ServerUnreachable(message, reason="proxy")
    if isinstance(error, httpx.ConnectTimeout):
        return ServerUnreachable(f"{base_url} does not answer", reason="timeout")
    message = f"{base_url} cannot be reached: {first_message(error)}"
    return ServerUnreachable(message, reason=unreachable_reason(error))


def _is_another(peer: tuple[str, int] | None, base_url: str) -> bool:
    """Say whether a connection is being opened to another place than the server, which is a proxy."""
    if peer is None:
        return False
    server = httpx.URL(base_url)
    name, port = server.raw_host.decode(), server.port or peer[1]
    hosts = LOOPBACK_HOSTS if name in LOOPBACK_HOSTS else (name,)
    return not (peer[0] in hosts and peer[1] == port)
