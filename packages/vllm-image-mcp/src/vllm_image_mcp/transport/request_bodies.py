"""Receive the complete body of a request, within a limit, before an application sees the request."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


class CompleteBodies:
    """Passes a request on once its body is complete; if its client goes away first, it is dropped.

    The MCP SDK would write a traceback into the log for each of these, which lets a client fill the disk.

    Args:
        app: The application.
        limit: The maximum size of a body, in bytes.
        too_large: Answers a request whose body is larger.
    """

    def __init__(self, app: App, limit: int, too_large: App) -> None:
        self._app = app
        self._limit = limit
        self._too_large = too_large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive the body of a request, and pass it on."""
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            await self._too_large(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone away
            body += message.get("body", b"")
            if len(body) > self._limit:
                await self._too_large(scope, receive, send)
                return
            more = message.get("more_body", False)
        ready = deque([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> MutableMapping[str, Any]:
            return ready.popleft() if ready else await receive()

        await self._app(scope, replay, send)
