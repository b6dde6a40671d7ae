"""Open httpx clients with the right proxy, TLS context and connection limits, and without cookies."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypedDict
from urllib.request import getproxies

import httpx

from vllm_omni_client._protocol.connection_settings import ConnectionSettings
from vllm_omni_client._protocol.proxy import proxy_for
from vllm_omni_client._transport.loopback import LoopbackTransport
from vllm_omni_client.errors import InvalidParameter

# Idle connections are closed before uvicorn closes them, which it does after 5 seconds.
_IDLE_SECONDS: Final = 3.0


def open_async_http(
    connection: ConnectionSettings, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """Return an asyncio HTTP client, with the network's transport if none is given."""
    # The pool itself has no limit, so that no request ever waits in it: image requests wait for a slot.
    limits = httpx.Limits(
        max_connections=None,
        max_keepalive_connections=connection.max_connections,
        keepalive_expiry=_IDLE_SECONDS,
    )
    with _environment_errors():
        transport = transport or httpx.AsyncHTTPTransport(limits=limits, **_network(connection))
        return httpx.AsyncClient(headers=connection.headers(), transport=transport, cookies=_no_cookies())


def open_http(connection: ConnectionSettings, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Return a blocking HTTP client; see `open_async_http`."""
    # A deadline can end a blocking read only by cutting its connection, so each call has its own.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    with _environment_errors():
        network = _network(connection)
        if transport is None:
            direct = httpx.HTTPTransport(limits=limits, **network)
            transport = direct if network["proxy"] else LoopbackTransport(direct)
        return httpx.Client(headers=connection.headers(), transport=transport, cookies=_no_cookies())


def _no_cookies() -> CookieJar:
    """Return a jar that accepts no cookie: one reply must not change the next request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class _Network(TypedDict):
    proxy: str | None
    verify: ssl.SSLContext | bool


def _network(connection: ConnectionSettings) -> _Network:
    """Choose the proxy, and how certificates are checked: without TLS, the system's ones are not loaded."""
    proxy = proxy_for(connection.base_url, getproxies())
    checked = connection.is_encrypted or proxy
    return {"proxy": proxy, "verify": True if checked else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


@contextmanager
def _environment_errors() -> Generator[None]:
    """Name the proxy and certificate variables, but not their values, which may hold a password."""
    try:
        yield
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise InvalidParameter(
            "the environment's proxy or certificate settings cannot be used; "
            "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
        ) from error
