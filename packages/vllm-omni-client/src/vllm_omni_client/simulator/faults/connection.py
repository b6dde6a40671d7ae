"""Give each request access to its TCP connection, so that a fault can reset or close it."""

import asyncio
import struct
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET, socket

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "vllm_omni_client.connection"
_LINGER_ZERO = struct.pack("ii", 1, 0)  # linger on, for 0 s: closing resets the connection


@dataclass(frozen=True, slots=True)
class Connection:
    """The TCP connection of a request."""

    transport: asyncio.Transport

    @staticmethod
    def of(scope: Scope) -> "Connection":
        """Return the connection of a request.

        Raises:
            ConnectionResetError: There is none because client and server share a process; the caller sees
                this error instead of a broken connection.
        """
        connection: object = scope.get("extensions", {}).get(_EXTENSION)
        if not isinstance(connection, Connection):
            raise ConnectionResetError("the simulated server broke the connection")
        return connection

    def reset(self) -> None:
        """Reset the connection; the other side gets an error."""
        under: socket | None = self.transport.get_extra_info("socket")
        if under is not None:
            under.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_ZERO)
        self.transport.abort()

    def close(self) -> None:
        """Close the connection cleanly after the data already written has been sent."""
        self.transport.close()


class ConnectionAwareProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with the server's own parser, and with access to the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn narrows it
        """Make the connection available to the requests that arrive on it."""
        super().connection_made(transport)
        self.app: ASGIApp = _with_connection(self.app, Connection(transport))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue] - uvicorn's own types for the same


def _with_connection(app: ASGIApp, connection: Connection) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["extensions"] = {**scope.get("extensions", {}), _EXTENSION: connection}
        await app(scope, receive, send)

    return wrapped
