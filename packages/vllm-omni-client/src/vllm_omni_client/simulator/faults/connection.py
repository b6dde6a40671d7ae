"""The connection under a request: what a fault needs to break it."""

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
"""The methods that the server's parser reads (llhttp 9); a request with another one is none to it."""
_END_OF_HEAD, _BLANKS = b"\r\n\r\n", b" \t"
_EXTENSION = "vllm_omni_client.connection"
_NO_REQUEST = PlainTextResponse(
    "Invalid HTTP request received.", status_code=HTTPStatus.BAD_REQUEST, headers={"connection": "close"}
)
_AT_ONCE = struct.pack("ii", 1, 0)  # lingering is on, for no time: closing resets


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection on a port."""

    transport: asyncio.Transport

    @staticmethod
    def of(scope: Scope) -> "Connection":
        """The connection of a request.

        Raises:
            ConnectionResetError: There is none, as client and server are in one process; the caller sees
                this error in place of a broken connection.
        """
        connection: object = scope.get("extensions", {}).get(_EXTENSION)
        if not isinstance(connection, Connection):
            raise ConnectionResetError("the simulated server broke the connection")
        return connection

    def reset(self) -> None:
        """Break it: the other side learns of it by an error."""
        under: socket | None = self.transport.get_extra_info("socket")
        if under is not None:
            under.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
        self.transport.abort()

    def close(self) -> None:
        """End it in good order, after what has been sent."""
        self.transport.close()


class OpenProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; requests know their connection, and blanks at the end of a header stay.

    h11 drops such blanks, and the parser of the server leaves them: a content type of "application/json " is
    refused there.
    """

    _head: bytes = b""

    def data_received(self, data: bytes) -> None:
        """Keep the head of a request as it is written."""
        if self.conn.their_state is IDLE:
            self._head = data if _END_OF_HEAD in self._head else self._head + data
        super().data_received(data)

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn narrows it
        """Remember the connection for the requests that will come on it."""
        super().connection_made(transport)
        self.app: ASGIApp = _knowing(self.app, Connection(transport), lambda: self._head)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue] - uvicorn's own types of the same


def _knowing(app: ASGIApp, connection: Connection, head: Callable[[], bytes]) -> ASGIApp:
    async def knowing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] not in _METHODS:
                await _NO_REQUEST(scope, receive, send)
                return
            scope["headers"] = _as_written(scope["headers"], head())
            scope["extensions"] = {**scope.get("extensions", {}), _EXTENSION: connection}
        await app(scope, receive, send)

    return knowing


def _as_written(headers: list[tuple[bytes, bytes]], head: bytes) -> list[tuple[bytes, bytes]]:
    """The headers with the blanks that end their lines, unless the lines are not to be told apart."""
    _, *lines = head.partition(_END_OF_HEAD)[0].split(b"\r\n")
    if len(lines) != len(headers):
        return headers
    return [(name, value + _ending(line)) for (name, value), line in zip(headers, lines, strict=True)]


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(_BLANKS)) :]
