"""Record what the connection of one request did, from the transport's trace events."""

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, cast

# A server that closes an idle connection does so before it reads a byte, so it shows within a round trip.
_STALE_WITHIN_SECONDS: Final = 0.05


class _Stream(Protocol):
    def get_extra_info(self, info: str) -> object: ...


class ConnectionTrace:
    """The connection of one request.

    The events are httpcore's, documented with httpx's `trace` extension, and those of `KeptConnections`. A
    transport without a network, such as an application in this process, sends none, so nothing is recorded.

    Attributes:
        waiting: Whether the request still waits for a slot.
        peer: Host and port that the connection is being opened to: the server's or a proxy's; None before
            that, and once it is open.
    """

    peer: tuple[str, int] | None

    def __init__(self) -> None:
        self.waiting = False
        self._is_cut = False
        self._cutting = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forget everything: the request is sent over another connection."""
        self.peer = None
        self._is_new = False
        self._sending = False
        self._sent_at = 0.0
        self._answered = False
        self._stream: _Stream | None = None

    def record(self, event: str, info: Mapping[str, object]) -> None:
        """Record one trace event, such as "connection.connect_tcp.started"."""
        _, _, what = event.partition(".")
        match what:
            case "connect_tcp.started":
                self._is_new = True
                self.peer = (str(info.get("host")), cast("int", info.get("port")))
            case "connect_tcp.complete" | "start_tls.complete" | "reused":
                self.peer = None
                self._stream = cast("_Stream", info["return_value"])
                if self._is_cut:
                    self.cut()
            case "released":
                self._detach()
            case "send_request_headers.started":
                self._sending = True
                self._sent_at = time.monotonic()
            case "receive_response_headers.complete":
                self._answered = True
            case _:
                pass

    def attach(self, stream: object) -> None:
        """Take the stream of a connection that was reused, so that it can be cut, too."""
        if self._stream is None and hasattr(stream, "get_extra_info"):
            self._stream = cast("_Stream", stream)
            if self._is_cut:
                self.cut()

    async def record_async(self, event: str, info: Mapping[str, object]) -> None:
        """Same as `record`, for a transport that awaits it."""
        self.record(event, info)

    @property
    def connecting(self) -> bool:
        """Whether a new connection was started and nothing has been sent over it yet."""
        return self._is_new and not self._sending

    def was_stale(self) -> bool:
        """Say whether a reused idle connection broke right away, without an answer.

        The server had probably closed it earlier, because a request that it did read rarely fails that soon.
        """
        reused = self._sending and not self._is_new
        return reused and not self._answered and time.monotonic() - self._sent_at < _STALE_WITHIN_SECONDS

    def cut(self) -> None:
        """Close the connection from another thread; a blocked reader wakes up immediately."""
        with self._cutting:
            self._is_cut = True
            connection = self._stream.get_extra_info("socket") if self._stream else None
            if isinstance(connection, socket.socket):
                with suppress(OSError):
                    # Not SSLSocket's own method, which drops the TLS state while the reader still uses it.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _detach(self) -> None:
        """Let go of the connection: it is about to carry another request, which must not be cut."""
        with self._cutting:
            self._stream = None
