"""ConnectionTrace: what the connection of one request did, as the transport's trace events tell it."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, cast

# A server that closes an idle connection does it before it has read a byte: it shows within a round trip.
_STALE_WITHIN_SECONDS: Final = 0.05


class _Stream(Protocol):
    def get_extra_info(self, info: str) -> object: ...


class ConnectionTrace:
    """The connection of one request.

    The events are httpcore's, documented with httpx's `trace` extension. A transport without a
    network, such as an application in this process, sends none: then nothing is known.

    Attributes:
        waiting: Whether its request still waits for its turn to have a connection.
    """

    def __init__(self) -> None:
        self.waiting = False
        self._is_cut = False
        self.restart()

    def restart(self) -> None:
        """Forget what was noted: the request is sent over another connection."""
        self._connected_anew = False
        self._sending = False
        self._sent_at = 0.0
        self._answered = False
        self._stream: _Stream | None = None

    def record(self, event: str, info: Mapping[str, object]) -> None:
        """Take one trace event, such as "connection.connect_tcp.started"."""
        _, _, what = event.partition(".")
        match what:
            case "connect_tcp.started":
                self._connected_anew = True
            case "connect_tcp.complete" | "start_tls.complete":
                self._stream = cast("_Stream", info["return_value"])
                if self._is_cut:
                    self.cut()
            case "send_request_headers.started":
                self._sending = True
                self._sent_at = time.monotonic()
            case "receive_response_headers.complete":
                self._answered = True
            case _:
                pass

    async def record_async(self, event: str, info: Mapping[str, object]) -> None:
        """Do what `record` does, for a transport that awaits it."""
        self.record(event, info)

    @property
    def connecting(self) -> bool:
        """Whether a connection was begun and nothing sent over it yet."""
        return self._connected_anew and not self._sending

    def was_stale(self) -> bool:
        """Say whether a broken connection was an old one that broke as it was used, without an answer.

        The server had probably closed it before; a request that it has read is seldom known to be lost so
        soon. It is not certain.
        """
        reused = self._sending and not self._connected_anew
        return reused and not self._answered and time.monotonic() - self._sent_at < _STALE_WITHIN_SECONDS

    def cut(self) -> None:
        """End the connection from another thread; whoever reads from it wakes up at once."""
        self._is_cut = True
        connection = self._stream.get_extra_info("socket") if self._stream else None
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                # Not the method of an SSLSocket, which takes its state away from under the reader.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
