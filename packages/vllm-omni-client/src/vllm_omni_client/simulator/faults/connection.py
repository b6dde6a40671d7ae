"""Give each request access to its TCP connection, so that a fault can reset or close it."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET, socket

from h11 import IDLE
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_METHODS = frozenset(
    (
        *("ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH"),
        *("MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH", "POST"),
        *("PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE"),
        *("SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"),
    )
)
"""The methods that the server's parser accepts (llhttp 9); it rejects a request with any other method."""
_END_OF_HEAD, _BLANKS = b"\r\n\r\n", b" \t"
_EXTENSION = "vllm_omni_client.connection"
_INVALID_REQUEST = PlainTextResponse(
    "Invalid HTTP request received.", status_code=HTTPStatus.BAD_REQUEST, headers={"connection": "close"}
)
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


class ConnectionAwareProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with access to the connection and with trailing blanks kept in headers.

    h11 strips such blanks; the server's parser keeps them, so the server refuses a content type of
    "application/json ".
    """

    _head: bytes = b""

    def data_received(self, data: bytes) -> None:
        """Remember the head of a request as it was sent."""
        if self.conn.their_state is IDLE:
            self._head = data if _END_OF_HEAD in self._head else self._head + data
        super().data_received(data)

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn narrows it
        """Make the connection available to the requests that arrive on it."""
        super().connection_made(transport)
        self.app: ASGIApp = _with_connection(self.app, Connection(transport), lambda: self._head)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue] - uvicorn's own types for the same


def _with_connection(app: ASGIApp, connection: Connection, head: Callable[[], bytes]) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] not in _METHODS:
                await _INVALID_REQUEST(scope, receive, send)
                return
            scope["headers"] = _with_blanks(scope["headers"], head())
            scope["extensions"] = {**scope.get("extensions", {}), _EXTENSION: connection}
        await app(scope, receive, send)

    return wrapped


def _with_blanks(headers: list[tuple[bytes, bytes]], head: bytes) -> list[tuple[bytes, bytes]]:
    """Restore the trailing blanks of the headers, unless the head's lines do not match them one to one."""
    _, *lines = head.partition(_END_OF_HEAD)[0].split(b"\r\n")
    if len(lines) != len(headers):
        return headers
    return [
        (name, value + _trailing_blanks(line)) for (name, value), line in zip(headers, lines, strict=True)
    ]


def _trailing_blanks(line: bytes) -> bytes:
    return line[len(line.rstrip(_BLANKS)) :]
