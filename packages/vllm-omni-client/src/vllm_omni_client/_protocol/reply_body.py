"""Reply: a server's answer while it comes in, held to its limits before it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from vllm_omni_client._protocol.endpoints import Call
from vllm_omni_client._protocol.picture_file import PictureFile
from vllm_omni_client._protocol.refusal import excerpt
from vllm_omni_client._protocol.secret import hidden
from vllm_omni_client.errors import BadReply, Exchange

T = TypeVar("T")

_OK: Final = 200
# An error's body is cut here and read as far as it came.
_MAX_ERROR_BYTES: Final = 1024 * 1024
_ENCODINGS: Final = frozenset({"br", "compress", "deflate", "gzip", "zstd"})
# Digits of a length that are read: enough for any number that is too large.
_LENGTH_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReply:
    """A whole answer.

    Attributes:
        status: The HTTP status.
        headers: Their names in lower case.
        content: The body as it came over the wire.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes = b""

    def without(self, secret: str) -> "RawReply":
        """Return the same answer with `secret` hidden wherever the server repeats it."""
        return RawReply(
            status=self.status,
            headers={name: hidden(value, secret) for name, value in self.headers.items()},
            content=hidden(self.content.decode("latin-1"), secret).encode(
                "latin-1"
            ),  # every byte is a letter
        )


class IncomingReply:
    """An answer whose head is here and whose body is on its way.

    Raises:
        BadReply: It is encoded, or longer than this call's answers are. Nothing is decompressed here.
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
            name = encoding if encoding in _ENCODINGS else "something unknown"
            raise self._refusal(f"encoded as {name}, which was not asked for")
        self._file = call.file if status == _OK else None
        if self._file is not None:
            self._file.begin()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:_LENGTH_DIGITS]) > self._limit and status == _OK:
            raise self._too_long()

    def add(self, chunk: bytes) -> bool:
        """Take the next part of the body; returns whether more is wanted."""
        self._bytes += len(chunk)
        if self._file is None:
            self._chunks.append(chunk)
        elif self._bytes <= self._limit:
            self._to_file(self._file, chunk)
        if self._bytes > self._limit and self._status == _OK:
            raise self._too_long()
        return self._bytes <= self._limit

    def complete(self) -> RawReply:
        """Return the answer after its last part; of one that went to a file, what is left over."""
        if self._file is not None:
            return RawReply(status=self._status, headers=self._headers, content=self._remainder(self._file))
        return RawReply(
            status=self._status, headers=self._headers, content=b"".join(self._chunks)[: self._limit]
        )

    def _to_file(self, file: PictureFile, chunk: bytes) -> None:
        try:
            file.feed(chunk)
        except ValueError as error:
            raise self._wrong(error, chunk) from error

    def _remainder(self, file: PictureFile) -> bytes:
        try:
            return file.finish()
        except ValueError as error:
            raise self._wrong(error) from error

    def _wrong(self, error: ValueError, chunk: bytes = b"") -> BadReply:
        text = excerpt(chunk) if chunk.lstrip()[:1] == b"<" else ""
        return BadReply(f"the server answered 200, but {error}{text}", exchange=self._exchange)

    def _too_long(self) -> BadReply:
        return self._refusal(f"more than {self._limit} bytes long")

    def _refusal(self, why: str) -> BadReply:
        return BadReply(f"the server's answer is {why}", exchange=self._exchange)
