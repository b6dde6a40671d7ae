"""The HTTP transport: check Host, Origin and token, and pass each request to the server of its user."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.server.transport_security import (
    TransportSecurityMiddleware,
    TransportSecuritySettings,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vllm_image_mcp.openai_api.errors import reply
from vllm_image_mcp.telemetry.metrics import CONTENT_TYPE
from vllm_image_mcp.transport.image_links import FILES_PATH

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from mcp.server import MCPServer

    from vllm_image_mcp.state import State
    from vllm_image_mcp.telemetry.metrics import Metrics
    from vllm_image_mcp.transport.image_links import ImageLinks
    from vllm_image_mcp.transport.user_apps import UserApps
    from vllm_image_mcp.users.user import Users

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

MCP_PATH: Final = "/mcp"
HEALTH_PATH: Final = "/healthz"
METRICS_PATH: Final = "/metrics"

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS: Final = frozenset(("0.0.0.0", "::", ""))  # noqa: S104 - to refuse them
_OPENAI_PATH: Final = "/v1/"


class UnsafeBinding(ValueError):
    """The server would be open to others; the message says what has to be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where the server listens, and who may connect.

    Attributes:
        host: The address to listen on.
        port: The port; 0 for any free one.
        allowed_hosts: The names under which clients may address it, besides those of this machine.
        needs_token: Whether clients must send a bearer token.

    Raises:
        UnsafeBinding: It can be reached from outside without a token, or under any name.
    """

    host: str
    port: int
    allowed_hosts: Sequence[str] = ()
    needs_token: bool = False

    def __post_init__(self) -> None:
        if self.is_local:
            return
        if self.host in _EVERY_ADDRESS and not self.allowed_hosts:
            raise UnsafeBinding(
                f"--host {self.host} listens on every address. Name the hosts that clients may use with "
                "--allowed-host, such as --allowed-host images.example.com"
            )
        if not self.needs_token:
            raise UnsafeBinding(
                f"--host {self.host} can be reached from other machines. Set a bearer token in "
                "VLLM_IMAGE_TOKEN or with --token-file, or several with --users-file"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the users of a server share.

    Attributes:
        users: The users.
        metrics: What `/metrics` reports, to users who may read it.
        links: The signed URLs of images.
    """

    users: Users
    metrics: Metrics
    links: ImageLinks


def http_app(
    apps: UserApps,
    binding: Binding,
    shared: Shared,
    *,
    before_end: Callable[[], Awaitable[None]],
    after_end: Callable[[], Awaitable[None]],
) -> App:
    """Return the ASGI application: `/healthz`, `/metrics`, and for each user a server of their own at `/mcp`.

    Sessions are stateless: another process on the same output folder can answer the next request.

    Args:
        apps: The applications of the users.
        binding: Where it listens, and under which names.
        shared: What the users share.
        before_end: Awaited before the servers end.
        after_end: Awaited after that.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(after_end)
            await stack.enter_async_context(apps)
            stack.push_async_callback(before_end)
            yield

    return _Guard(Starlette(lifespan=lifespan), apps, binding, shared)


def mcp_app(server: MCPServer[State], binding: Binding) -> Starlette:
    """Return the application of a server at `/mcp`; its requests arrive with complete bodies."""
    return server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        transport_security=binding.security(),
        host=binding.host,
    )


class _Guard:
    """Checks Host, Origin and the token of every request, and passes it to the application of its user."""

    def __init__(self, outer: Starlette, apps: UserApps, binding: Binding, shared: Shared) -> None:
        self._outer = outer
        self._links = shared.links
        self._apps = apps
        self._users = shared.users
        self._metrics = shared.metrics
        self._security = TransportSecurityMiddleware(binding.security())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with its refusal, or pass it on. WebSockets are closed."""
        if scope["type"] == "lifespan":
            await self._outer(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        answer = await self._security.validate_request(request) or await self._answer(request)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> App:
        """Return what answers a request: the application of its user, or a refusal."""
        path = request.url.path
        if path == HEALTH_PATH:
            return _if_get(request, _ALIVE)
        if path.startswith(FILES_PATH):
            return await self._links.answer(request)
        is_openai = path.startswith(_OPENAI_PATH)
        user = self._users.authenticate(request.headers.get("authorization", ""))
        if user is None:
            return _NO_OPENAI_USER if is_openai else _NO_USER
        if path == METRICS_PATH and user.reads_metrics:
            return _if_get(request, Response(self._metrics.page(), media_type=CONTENT_TYPE))
        if is_openai:
            return self._apps.openai_app(user)
        return self._apps.mcp_app(user)


def _if_get(request: Request, response: Response) -> Response:
    if request.method in {"GET", "HEAD"}:
        return response
    return JSONResponse({"error": "Use GET."}, status_code=405, headers={"allow": "GET, HEAD"})


_ALIVE: Final = JSONResponse({"status": "ok"})
"""The process is alive; it says nothing about the servers that generate images."""


_NO_USER: Final = JSONResponse(
    {"error": "Unauthorized. Send the header `Authorization: Bearer TOKEN`."},
    status_code=401,
    headers={"www-authenticate": "Bearer"},
)

_NO_OPENAI_USER: Final = reply(
    401,
    "The API key is missing or wrong. Use the token that you were given as the API key.",
    kind="invalid_request_error",
    code="invalid_api_key",
    headers={"www-authenticate": "Bearer"},
)
