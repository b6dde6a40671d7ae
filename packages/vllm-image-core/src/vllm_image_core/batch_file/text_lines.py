"""Read a text file line by line, with limits on length, in UTF-8 or the encoding its BOM names."""

import io
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO, Final

from vllm_image_core.text import marked_encoding

NOT_UTF8: Final = "It is not UTF-8 text. Save the file as UTF-8 (in Excel: CSV UTF-8)."
_NOT_UTF16: Final = "It is not valid UTF-16 text. Save the file as UTF-8 (in Excel: CSV UTF-8)."

_LONGEST_LINE: Final = 1_048_576
"""Maximum length in characters; a prompt has at most 20,000. The text of a longer line is dropped."""

_LONGEST_PROMPT: Final = 20_000

_HEAD: Final = 4_096
"""Number of bytes that are checked to decide whether the file is text."""

_KINDS: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG\r\n\x1a\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
_WIDE_BREAKS: Final = (b"\n\x00", b"\x00\n", b"\r\x00", b"\x00\r")
"""A line break in UTF-16."""

_MARK: Final = "\ufeff"


class NotText(Exception):
    """The file is not text, or its encoding cannot be recognised; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line.

    Attributes:
        number: Its number, from 1.
        text: Its text with a final LF; empty if the line was too long.
        refusal: Why it cannot be used; None if it can.
    """

    number: int
    text: str
    refusal: str | None = None


class TextLines:
    """Iterate over the lines of a file; a line ends with LF, CRLF or CR.

    Args:
        file: The file, read from its current position; it stays open.

    Attributes:
        beginning: The first characters, without leading white space.

    Raises:
        NotText: The file is not text, or is UTF-16 without a byte order mark.
    """

    def __init__(self, file: BinaryIO) -> None:
        head = file.read(_HEAD)
        encoding = marked_encoding(head)
        if encoding is None:
            _check_is_text(head)
        encoding = encoding or "utf-8-sig"
        self._is_wide = encoding != "utf-8-sig"
        errors = "replace" if self._is_wide else "surrogateescape"
        self._text = io.TextIOWrapper(
            io.BufferedReader(_Rejoined(head, file)), encoding=encoding, errors=errors, newline=None
        )
        self.beginning: str = head.decode(encoding, "ignore").lstrip(f"{_MARK} \t\r\n")

    def __iter__(self) -> Generator[TextLine]:
        number = 0
        while text := self._text.readline(_LONGEST_LINE):
            number += 1
            if len(text) >= _LONGEST_LINE and not text.endswith("\n"):
                length = self._skip(len(text))
                most = f"at most {_LONGEST_PROMPT} are allowed"
                yield TextLine(number, "", f"The prompt has {length} characters; {most}.")
            else:
                # Concatenated files contain byte order marks.
                yield TextLine(number, text.removeprefix(_MARK), self._refusal(text))

    def read(self, most: int) -> str | None:
        """Return all text; None if it has more than ``most`` characters. May raise NotText."""
        text = self._text.read(most + 1)
        if refusal := self._refusal(text):
            raise NotText(f"it cannot be read; {refusal}")
        return text if len(text) <= most else None

    def _refusal(self, text: str) -> str | None:
        if self._is_wide:
            return _NOT_UTF16 if "\ufffd" in text else None
        try:
            text.encode()
        except UnicodeEncodeError:  # invalid bytes were read as lone surrogates
            return NOT_UTF8
        return None

    def _skip(self, length: int) -> int:
        """Skip the rest of a line, and return the length of the line."""
        while (more := self._text.readline(_LONGEST_LINE)) and not more.endswith("\n"):
            length += len(more)
        return length + len(more.rstrip("\n"))


class _Rejoined(io.RawIOBase):
    """A file with its first bytes put back, because a pipe cannot seek."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the only caller is io's own
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _check_is_text(head: bytes) -> None:
    for start, kind in _KINDS:
        if head.startswith(start):
            raise NotText(f"it is {kind}, not text; save it as CSV, JSON Lines or plain text in UTF-8")
    zeros = (head[::2].count(0), head[1::2].count(0))
    if max(zeros) * 3 > len(head) or any(mark in head for mark in _WIDE_BREAKS):
        raise NotText("it seems to be UTF-16 without a byte order mark; save it as UTF-8")
