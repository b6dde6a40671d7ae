"""Exchange MCP messages with a host over stdin and stdout, one per line, from two threads."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import queue
import select
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    ProgressToken,
    RequestId,
)

from vllm_image_mcp.jobs.wait_limits import Arrival
from vllm_image_mcp.transport.incoming import Unreadable, read_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

_logger = logging.getLogger(__name__)

_CHUNK: Final = 65_536
_LEAST_FD: Final = 3
_LAST_WORDS_SECONDS: Final = 2.0
"""How long the host may take at the end to read pending messages."""
_LAST_REPLIES_SECONDS: Final = 1.0
"""How long pending requests may take to be answered after the host has closed stdin."""

_ENDLESS: Final = frozenset({"subscriptions/listen"})
"""Requests that are answered only when the connection ends."""


@dataclass(frozen=True, slots=True)
class Pipes:
    """The file descriptors of the connection to a host.

    Attributes:
        incoming: Where messages of the host are read.
        outgoing: Where messages to the host are written.
    """

    incoming: int
    outgoing: int

    @classmethod
    def private(cls) -> Pipes:
        """Reserve stdin and stdout for the host; other readers get end of file, and prints go to stderr.

        Raises:
            OSError: One of them is closed.
        """
        incoming, outgoing = _copy_descriptor(0), _copy_descriptor(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # stderr is closed
            os.dup2(nothing, 1)
        if nothing >= _LEAST_FD:
            os.close(nothing)
        if sys.platform == "win32":
            from mcp.os.win32.utilities import rebind_std_handle_to_fd  # noqa: PLC0415 - only there

            for fd in (0, 1):
                rebind_std_handle_to_fd(fd)
        return cls(incoming, outgoing)


class StdioHost:
    """The host at the other end of two pipes.

    Each pipe has a daemon thread, which does not keep the process alive.

    Args:
        pipes: The pipes of the host.
        on_answer: Called once, after the first answer was written.

    Attributes:
        incoming: The stream from which the SDK reads messages; it ends when the host closes a pipe.
        outgoing: The stream to which the SDK writes messages.
    """

    def __init__(self, pipes: Pipes, *, on_answer: Callable[[], object]) -> None:
        self._pipes = pipes
        self._on_answer: Callable[[], object] | None = on_answer
        self._loop = asyncio.get_running_loop()
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[None] | None] | None] = queue.SimpleQueue()
        self._closed = False
        self._unanswered: dict[RequestId, ProgressToken | None] = {}
        self._cancelled: set[ProgressToken] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._ending: asyncio.Task[None] | None = None
        self._ending_since: float | None = None
        self._arrived: MemoryObjectSendStream[SessionMessage | Exception]
        self.incoming: MemoryObjectReceiveStream[SessionMessage | Exception]
        self.outgoing: MemoryObjectSendStream[SessionMessage]
        self._leaving: MemoryObjectReceiveStream[SessionMessage]
        self._arrived, self.incoming = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
        self.outgoing, self._leaving = anyio.create_memory_object_stream[SessionMessage](0)

    def open(self) -> None:
        """Start the threads that read and write."""
        for work in (self._read, self._write):
            threading.Thread(target=work, name=f"stdio{work.__name__}", daemon=True).start()

    def end(self) -> None:
        """Stop reading, which the SDK takes as the end of the connection."""
        self._arrived.close()

    @property
    def seconds_since_end_of_input(self) -> float:
        """How long ago the host closed stdin; 0 if it has not."""
        return 0.0 if self._ending_since is None else time.monotonic() - self._ending_since

    async def wait_for_replies(self, seconds: float) -> None:
        """Wait until every request is answered, for at most ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    async def write_all(self) -> None:
        """Write the SDK's messages until it closes its stream."""
        async with self._leaving:
            async for each in self._leaving:
                if not self._is_progress_of_a_cancelled_call(each.message):
                    await self._write_line(_line_of(each.message))
                if isinstance(each.message, JSONRPCResponse | JSONRPCError):
                    self._forget(each.message.id)
                    if self._on_answer is not None:
                        on_answer, self._on_answer = self._on_answer, None
                        on_answer()

    def _is_progress_of_a_cancelled_call(self, message: JSONRPCMessage) -> bool:
        """Check for progress of a call that was cancelled meanwhile, which the host no longer expects."""
        return (
            isinstance(message, JSONRPCNotification)
            and message.method == "notifications/progress"
            and (message.params or {}).get("progressToken") in self._cancelled
        )

    def _expect(self, request: JSONRPCRequest) -> None:
        token = progress_token_from_params(request.params)
        if token is not None:
            self._cancelled.discard(token)
        if request.method not in _ENDLESS:
            self._unanswered[request.id] = token
            self._quiet.clear()

    def _forget(self, request_id: RequestId | None) -> ProgressToken | None:
        """Drop a request that is answered or will not be, and return its progress token."""
        token = None if request_id is None else self._unanswered.pop(request_id, None)
        if not self._unanswered:
            self._quiet.set()
        return token

    async def _write_line(self, line: bytes) -> None:
        if self._closed:
            return
        written = self._loop.create_future()
        self._lines.put((line, written))
        await written

    def _take(self, read: JSONRPCMessage | Unreadable, arrival: Arrival) -> None:
        """Pass a message to the SDK, or answer an invalid one with an error."""
        if isinstance(read, Unreadable):
            for reply in (replies := read.replies()):
                self._lines.put((reply, None))
            if not replies:
                _logger.warning(
                    "Ignored an invalid line from the host, which has no id to answer. %s", read.why
                )
            return
        if isinstance(read, JSONRPCRequest):
            self._expect(read)
        elif isinstance(read, JSONRPCNotification) and read.method == "notifications/cancelled":
            token = self._forget(cancelled_request_id_from_params(read.params))
            if token is not None:
                self._cancelled.add(token)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server is ending
            self._arrived.send_nowait(SessionMessage(read, ServerMessageMetadata(request_context=arrival)))

    def _resolve(self, written: asyncio.Future[None]) -> None:
        if not written.done():
            written.set_result(None)

    def _lose(self) -> None:
        """End the connection after the host has closed stdout, as nothing can be answered."""
        self._closed = True
        self.end()

    def _end_after_replies(self) -> None:
        """End the connection after the host has closed stdin, as soon as its requests are answered."""
        self._ending_since = time.monotonic()
        self._ending = asyncio.create_task(self.wait_for_replies(_LAST_REPLIES_SECONDS))
        self._ending.add_done_callback(lambda _: self.end())

    def _read(self) -> None:
        """Read lines until end of file, in a thread."""
        rest = bytearray()
        while chunk := _read_some(self._pipes):
            arrival = Arrival(time.monotonic())
            first, *others = chunk.split(b"\n")
            rest += first
            for line in others:
                self._pass(bytes(rest), arrival)
                rest = bytearray(line)
        self._pass(bytes(rest), Arrival(time.monotonic()))
        self._call(self._end_after_replies if _is_open(self._pipes.outgoing) else self._lose)

    def _pass(self, line: bytes, arrival: Arrival) -> None:
        if (read := read_message(line)) is not None:
            self._call(self._take, read, arrival)

    def _write(self) -> None:
        """Write queued lines, in a thread; drop them once the host is gone."""
        lost = False
        while item := self._lines.get():
            line, written = item
            if not lost:
                try:
                    _write_whole(self._pipes.outgoing, line)
                except OSError as error:
                    lost = True
                    _logger.info("The host closed stdout: %s", error)
                    self._call(self._lose)
            if written is not None:
                self._call(self._resolve, written)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        """Call a function on the event loop, unless the loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)


@asynccontextmanager
async def host_on_stdio(*, on_answer: Callable[[], object]) -> AsyncGenerator[StdioHost]:
    """Connect to the host that started this process; on exit, write the pending messages.

    Args:
        on_answer: Called once, after the first answer was written.

    Raises:
        OSError: stdin or stdout is closed.
    """
    host = StdioHost(Pipes.private(), on_answer=on_answer)
    host.open()
    writing = asyncio.create_task(host.write_all())
    try:
        yield host
    finally:
        host.end()
        await asyncio.wait([writing], timeout=_LAST_WORDS_SECONDS)
        writing.cancel()
        await asyncio.wait([writing])


def _line_of(message: JSONRPCMessage) -> bytes:
    """Serialize a message as a line; replace an answer that cannot be serialized with an error."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError:
        _logger.exception("Cannot write a message as JSON")
    if not isinstance(message, JSONRPCResponse):
        return b""
    error = ErrorData(code=INTERNAL_ERROR, message="The answer cannot be written as JSON.")
    return _line_of(JSONRPCError(jsonrpc="2.0", id=message.id, error=error))


def _copy_descriptor(fd: int) -> int:
    """Duplicate a file descriptor to a number above those of the standard streams."""
    if sys.platform == "win32":
        return os.dup(fd)
    import fcntl  # noqa: PLC0415 - not on Windows

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LEAST_FD)


def _read_some(pipes: Pipes) -> bytes:
    """Read the next bytes; b"" at end of file, or if the host has closed either pipe."""
    while True:
        if sys.platform == "linux":
            waiting = select.poll()
            waiting.register(pipes.incoming, select.POLLIN)
            waiting.register(pipes.outgoing, 0)  # only to learn that the host has closed it
            if pipes.outgoing in dict(waiting.poll()):
                return b""
        try:
            return os.read(pipes.incoming, _CHUNK)
        except BlockingIOError:  # a host may have made its pipes non-blocking
            select.select([pipes.incoming], [], [])
        except OSError:
            return b""


def _is_open(fd: int) -> bool:
    """Check whether the host still has a pipe open; True if that cannot be known before writing."""
    if sys.platform != "linux":
        return True
    asking = select.poll()
    asking.register(fd, 0)
    return not asking.poll(0)


def _write_whole(fd: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select([], [fd], [])
