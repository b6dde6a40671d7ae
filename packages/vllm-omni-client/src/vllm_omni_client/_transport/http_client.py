"""Open httpx clients with the right proxy, TLS context and connection limits, and without cookies."""

import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final, TypedDict
from urllib.request import getproxies

import httpx

from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.proxy import proxy_for
from vllm_omni_client._transport.connection_stack import ConnectionStack
from vllm_omni_client._transport.kept_connections import KeptConnections
from vllm_omni_client._transport.large_reads import LargeReadTransport
from vllm_omni_client._transport.loopback import LoopbackTransport
from vllm_omni_client.errors import InvalidParameter

# Idle connections are closed before uvicorn closes them, which it does after 5 seconds.
_IDLE_SECONDS: Final = 3.0
# A pool itself has no limit, so that no request ever waits in it: image requests wait for a slot.
_ONE_CONNECTION: Final = httpx.Limits(
    max_connections=None, max_keepalive_connections=1, keepalive_expiry=_IDLE_SECONDS
)


def open_async_http(
    connection: ConnectionSettings, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """Return an asyncio HTTP client, with the network's transport if none is given."""
    with _setting_errors(connection):
        return httpx.AsyncClient(transport=transport or _open_stack(connection), cookies=_no_cookies())


def _open_stack(connection: ConnectionSettings) -> ConnectionStack:
    network = _network(connection)
    # Once for all connections: it reads the CA certificates.
    verify = httpx.create_ssl_context(network["verify"])
    open_one: Callable[[], httpx.AsyncBaseTransport] = partial(
        LargeReadTransport, verify=verify, idle_seconds=_IDLE_SECONDS
    )
    if (proxy := network["proxy"]) is not None:
        open_one = partial(httpx.AsyncHTTPTransport, limits=_ONE_CONNECTION, verify=verify, proxy=proxy)
    return ConnectionStack(
        open_one(), open_one, most_idle=connection.max_connections, idle_seconds=_IDLE_SECONDS
    )


def open_http(connection: ConnectionSettings, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Return a blocking HTTP client; see `open_async_http`."""
    with _setting_errors(connection):
        return httpx.Client(transport=transport or _open_kept(connection), cookies=_no_cookies())


def _open_kept(connection: ConnectionSettings) -> httpx.BaseTransport:
    network = _network(connection)
    open_one = partial(
        httpx.HTTPTransport,
        limits=_ONE_CONNECTION,
        verify=httpx.create_ssl_context(network["verify"]),
        proxy=network["proxy"],
    )
    open_one().close()  # settings that cannot be used are an error now
    kept = KeptConnections(open_one, most_idle=connection.max_connections, idle_seconds=_IDLE_SECONDS)
    return kept if network["proxy"] else LoopbackTransport(kept)


def _no_cookies() -> CookieJar:
    """Return a jar that accepts no cookie: one reply must not change the next request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class _Network(TypedDict):
    proxy: httpx.Proxy | str | None
    verify: ssl.SSLContext | bool


def _network(connection: ConnectionSettings) -> _Network:
    """Choose the proxy, and how certificates are checked: without TLS, no CAs are loaded."""
    proxy = _proxy(connection)
    if connection.verify is not True:
        return {"proxy": proxy, "verify": _tls_context(connection.verify)}
    checked = connection.is_encrypted or proxy
    return {"proxy": proxy, "verify": True if checked else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


def _proxy(connection: ConnectionSettings) -> httpx.Proxy | str | None:
    if connection.proxy is None:
        return proxy_for(connection.base_url, getproxies())
    return httpx.Proxy(connection.proxy.get_secret_value()) if connection.proxy else None


def _tls_context(verify: Path | ssl.SSLContext | bool) -> ssl.SSLContext | bool:  # noqa: FBT001  # httpx's own name and type
    """Return how to check certificates; only the CAs of a given file are trusted.

    Raises:
        InvalidParameter: The file has no certificates that can be read.
    """
    if not isinstance(verify, Path):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise InvalidParameter(
            f"verify: {str(verify)!r} cannot be used as CA certificates ({why}); it must be a PEM file",
            parameter="verify",
        ) from error


@contextmanager
def _setting_errors(connection: ConnectionSettings) -> Generator[None]:
    """Name the settings that cannot be used, but not their values, which may hold a password."""
    try:
        yield
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        if connection.proxy:
            raise InvalidParameter(
                'proxy cannot be used; it must be an address such as "http://HOST:PORT", and "socks5://" '
                "needs httpx[socks]",
                parameter="proxy",
            ) from error
        raise InvalidParameter(
            "the environment's proxy or certificate settings cannot be used; "
            "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
        ) from error
