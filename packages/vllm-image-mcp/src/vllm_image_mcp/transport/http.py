"""The HTTP transport: Streamable HTTP behind checks of Host, Origin and bearer token, with a health route."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from mcp.server import MCPServer
    from pydantic import SecretStr

    from vllm_image_mcp.state import State

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

MCP_PATH: Final = "/mcp"
HEALTH_PATH: Final = "/healthz"

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS: Final = frozenset(("0.0.0.0", "::", ""))  # noqa: S104 - to refuse them
_MOST_BYTES: Final = 4 * 2**20
"""Limit on a request; arguments name images and never contain them."""


class UnsafeBinding(ValueError):
    """The server would be open to others; the message says what has to be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where the server listens, and who may connect.

    Attributes:
        host: The address to listen at.
        port: The port; 0 for any free one.
        allowed_hosts: The names under which clients may address it, besides those of this machine.
        token: The bearer token that clients must send; None for none.

    Raises:
        UnsafeBinding: It can be reached from outside without a token, or under any name.
    """

    host: str
    port: int
    allowed_hosts: Sequence[str] = ()
    token: SecretStr | None = None

    def __post_init__(self) -> None:
        if self.is_local:
            return
        if self.host in _EVERY_ADDRESS and not self.allowed_hosts:
            raise UnsafeBinding(
                f"--host {self.host} listens at every address. Name the hosts that clients may use with "
                "--allowed-host, such as --allowed-host images.example.com"
            )
        if self.token is None:
            raise UnsafeBinding(
                f"--host {self.host} can be reached from other machines. Set a bearer token in "
                "VLLM_IMAGE_TOKEN or with --token-file"
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def security(self) -> TransportSecuritySettings:
        """Return the names that the headers Host and Origin may have, with and without a port."""
        names = [*_LOOPBACK, *self.allowed_hosts]
        if self.host not in _EVERY_ADDRESS:
            names.append(f"[{self.host}]" if ":" in self.host else self.host)
        hosts = [spelling for name in dict.fromkeys(names) for spelling in (name, f"{name}:*")]
        return TransportSecuritySettings(
            allowed_hosts=hosts,
            allowed_origins=[f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts],
        )


def http_app(server: MCPServer[State], binding: Binding) -> App:
    """Return the ASGI application: `/mcp` and `/healthz`, and nothing else.

    Sessions are stateless: another process on the same output folder can answer the next request.
    """
    server.custom_route(HEALTH_PATH, methods=["GET"])(_health)
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        max_request_body_size=_MOST_BYTES,
        transport_security=binding.security(),
        host=binding.host,
    )
    return _Guard(app, binding)


async def _health(_: Request) -> Response:
    """Answer that the process is alive; it says nothing about the servers that generate images."""
    return JSONResponse({"status": "ok"})


class _Guard:
    """Checks Host, Origin and the token of every request before the application sees it."""

    def __init__(self, app: App, binding: Binding) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(binding.security())
        self._token = binding.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with its refusal, or pass it on. WebSockets are closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        refusal = await self._security.validate_request(request) or self._check_token(request)
        await (refusal or self._app)(scope, receive, send)

    def _check_token(self, request: Request) -> Response | None:
        """Compare the token in constant time; `/healthz` needs none."""
        if self._token is None or request.url.path == HEALTH_PATH:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        expected = self._token.get_secret_value().encode()
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected):
            return None
        return JSONResponse(
            {"error": "Unauthorized. Send the header `Authorization: Bearer TOKEN`."},
            status_code=401,
            headers={"www-authenticate": "Bearer"},
        )
