"""Receive a server's reply within its length limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.error_reply import excerpt
from vllm_omni_client._protocol.picture_file import PictureFile
from vllm_omni_client._protocol.picture_memory import PictureMemory
from vllm_omni_client.errors import BadReply, Exchange

T = TypeVar("T")

_OK: Final = 200
# The body of an error is truncated at this length.
_MAX_ERROR_BYTES: Final = 1024 * 1024
_ENCODINGS: Final = frozenset({"br", "compress", "deflate", "gzip", "zstd"})
# Only this many digits of a length are parsed: enough to recognise any length that is too large.
_LENGTH_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReply:
    """A complete reply, as received; its headers have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes = b""

    def redacted(self, redact: Callable[[str], str]) -> "RawReply":
        """Return the same reply with secrets hidden wherever the server repeats them."""
        return RawReply(
            status=self.status,
            headers={name: redact(value) for name, value in self.headers.items()},
            content=redact(self.content.decode("latin-1")).encode("latin-1"),  # one character per byte
        )


class IncomingReply:
    """A reply whose head has arrived and whose body is being received.

    Raises:
        BadReply: It is compressed, or longer than this call allows. Nothing is ever decompressed.
    """

    def __init__(self, call: Call[T], status: int, headers: Mapping[str, str]) -> None:
        self._exchange = Exchange(method=call.method, url=call.path, status=status)
        self._status = status
        self._headers = headers
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._limit = call.max_bytes if status == _OK else _MAX_ERROR_BYTES
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            name = encoding if encoding in _ENCODINGS else "an unknown encoding"
            raise self._refusal(f"encoded as {name}, which was not requested")
        self._receiver = call.receiver if status == _OK else None
        if self._receiver is not None:
            self._receiver.begin()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:_LENGTH_DIGITS]) > self._limit and status == _OK:
            raise self._too_long()

    def add(self, chunk: bytes) -> bool:
        """Take the next part of the body; return whether to continue reading."""
        self._bytes += len(chunk)
        if self._receiver is None:
            self._chunks.append(chunk)
        elif self._bytes <= self._limit:
            self._receive(self._receiver, chunk)
        if self._bytes > self._limit and self._status == _OK:
            raise self._too_long()
        return self._bytes <= self._limit

    def complete(self) -> RawReply:
        """Return the reply after its last part; if its image was received, only the rest of the body."""
        if self._receiver is not None:
            content = self._remainder(self._receiver)
            return RawReply(status=self._status, headers=self._headers, content=content)
        return RawReply(
            status=self._status, headers=self._headers, content=b"".join(self._chunks)[: self._limit]
        )

    def _receive(self, receiver: PictureFile | PictureMemory, chunk: bytes) -> None:
        try:
            receiver.feed(chunk)
        except ValueError as error:
            raise self._contract_error(error, chunk) from error

    def _remainder(self, receiver: PictureFile | PictureMemory) -> bytes:
        try:
            return receiver.finish()
        except ValueError as error:
            raise self._contract_error(error) from error

    def _contract_error(self, error: ValueError, chunk: bytes = b"") -> BadReply:
        text = excerpt(chunk) if chunk.lstrip()[:1] == b"<" else ""
        return BadReply(f"the server answered 200, but {error}{text}", exchange=self._exchange)

    def _too_long(self) -> BadReply:
        return self._refusal(f"more than {self._limit} bytes long")

    def _refusal(self, reason: str) -> BadReply:
        return BadReply(f"the server's reply is {reason}", exchange=self._exchange)
