"""Connect to localhost by IPv4 first, in blocking clients.

Windows takes two seconds to notice that nothing listens on ::1, the first address of localhost, while most
servers listen on IPv4 only. The asyncio client tries both at once.
"""

from contextlib import suppress
from typing import Final

import httpx

_NAME: Final = "localhost"
_IPV4: Final = "127.0.0.1"
_IPV6: Final = "::1"
LOOPBACK_HOSTS: Final = (_NAME, _IPV4, _IPV6)
"""The names and addresses of this machine, between which a connection may choose."""


class LoopbackTransport(httpx.BaseTransport):
    """A transport that sends requests for localhost to 127.0.0.1, or to ::1 if nothing listens there.

    The address that answered last comes first.
    """

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport
        self._addresses = (_IPV4, _IPV6)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != _NAME:
            return self._transport.handle_request(request)
        first, second = self._addresses
        try:
            return self._transport.handle_request(_to(first, request))
        except httpx.ConnectError:  # nothing was sent
            with suppress(httpx.ConnectError):
                response = self._transport.handle_request(_to(second, request))
                self._addresses = (second, first)
                return response
            raise

    def close(self) -> None:
        self._transport.close()


def _to(address: str, request: httpx.Request) -> httpx.Request:
    """Return the request for another address; the Host header and the name in TLS stay the same."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": _NAME},
    )
