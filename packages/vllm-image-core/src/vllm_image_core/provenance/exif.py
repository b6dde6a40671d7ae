"""An EXIF block: the comment that other tools read a picture's settings from.

Source: Exif 2.32 (CIPA DC-008), sections 4.5 and 4.6; TIFF 6.0, section 2. AUTOMATIC1111, Forge and SD.Next
write the comment as UTF-16, its high bytes first, after the mark UNICODE; ComfyUI's WebP has its JSON in the
first directory.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

__all__ = ["PREFIX", "Exif", "encoded", "read"]

Order = Literal["<", ">"]
"""Low bytes first, or high bytes first, as `struct` spells it."""

PREFIX: Final = b"Exif\0\0"
"""What stands before the block in a JPEG, and in some WebP."""

_BIG_ENDIAN: Final = b"MM\0*"
_LITTLE_ENDIAN: Final = b"II*\0"
_ORIENTATION: Final = 0x0112
_EXIF_DIRECTORY: Final = 0x8769
_EXIF_VERSION: Final = 0x9000
_USER_COMMENT: Final = 0x9286
_BYTE, _ASCII, _SHORT, _LONG, _UNDEFINED = 1, 2, 3, 4, 7
_BYTES_OF_TYPE: Final = {_BYTE: 1, _ASCII: 1, _SHORT: 2, _LONG: 4, _UNDEFINED: 1}
_UNICODE: Final = b"UNICODE\0"
_CODES: Final = (b"ASCII\0\0\0", b"\0" * 8)
_CODE_BYTES: Final = 8
_ENTRY_BYTES: Final = 12
_INLINE_BYTES: Final = 4
_MAX_ENTRIES: Final = 256
_MAX_TEXTS: Final = 16
_ORIENTATIONS: Final = range(1, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exif:
    """What a block says, as far as it is read here.

    Attributes:
        comment: UserComment; None where there is none.
        texts: The texts of the first directory, in its order: maker, model, software and the like.
        orientation: How the picture is to be turned, 1 to 8; 1 is upright.
    """

    comment: str | None = None
    texts: tuple[str, ...] = ()
    orientation: int = 1


def encoded(comment: str, *, orientation: int = 1) -> bytes:
    """A block with a comment, without PREFIX; lone surrogates, which UTF-16 does not have, become U+FFFD."""
    clean = comment.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")
    content = _UNICODE + clean.encode("utf-16-be")
    first = [_entry(_EXIF_DIRECTORY, _LONG, 1, 0)]
    if orientation != 1:
        first.insert(0, _entry(_ORIENTATION, _SHORT, 1, orientation << 16))
    exif_at = 8 + 2 + _ENTRY_BYTES * len(first) + 4
    content_at = exif_at + 2 + 2 * _ENTRY_BYTES + 4
    first[-1] = _entry(_EXIF_DIRECTORY, _LONG, 1, exif_at)
    version = _entry(_EXIF_VERSION, _UNDEFINED, 4, int.from_bytes(b"0232"))
    inner = [version, _entry(_USER_COMMENT, _UNDEFINED, len(content), content_at)]
    return b"".join([_BIG_ENDIAN, struct.pack(">I", 8), _directory(first), _directory(inner), content])


def read(block: bytes) -> Exif:
    """What a block says, with or without PREFIX; a damaged one says what can be read, and no more."""
    tiff = memoryview(block.removeprefix(PREFIX))
    start = bytes(tiff[:4])
    order: Order = "<" if start == _LITTLE_ENDIAN else ">"
    if start not in (_BIG_ENDIAN, _LITTLE_ENDIAN):
        return Exif()
    first = list(_entries(tiff, order, _number(tiff[4:8], order)))
    inner = [
        entry
        for pointer in first
        if pointer.tag == _EXIF_DIRECTORY
        for entry in _entries(tiff, order, _number(pointer.value, order))
    ]
    comments = [entry.value for entry in inner if entry.tag == _USER_COMMENT]
    turns = [_number(entry.value, order) for entry in first if entry.tag == _ORIENTATION]
    return Exif(
        comment=_comment(bytes(comments[0]), order) if comments else None,
        texts=tuple(entry.text for entry in islice((e for e in first if e.kind == _ASCII), _MAX_TEXTS)),
        orientation=turns[0] if turns and turns[0] in _ORIENTATIONS else 1,
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    value: memoryview

    @property
    def text(self) -> str:
        return bytes(self.value).partition(b"\0")[0].decode("utf-8", "replace")


def _entries(tiff: memoryview, order: Order, start: int) -> Iterator[_Entry]:
    """The entries of the directory at a place, those whose value lies wholly in the block."""
    count = min(_number(tiff[start : start + 2], order), _MAX_ENTRIES)
    for position in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
        if position + _ENTRY_BYTES > len(tiff):
            return
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, position)
        length = values * _BYTES_OF_TYPE.get(kind, 0)
        at = position + 8
        if length > _INLINE_BYTES:
            at = _number(tiff[at : at + 4], order)
        if 0 < length <= len(tiff) - at:
            yield _Entry(tag, kind, tiff[at : at + length])


def _number(value: memoryview, order: Order) -> int:
    return int.from_bytes(value, "little" if order == "<" else "big")


def _comment(value: bytes, order: Order) -> str:
    """A comment's text after its eight bytes of code; others than UNICODE are read as UTF-8."""
    if value.startswith(_UNICODE):
        return _utf16(value[_CODE_BYTES:], order)
    text = value[_CODE_BYTES:] if value.startswith(_CODES) else value
    return text.decode("utf-8", "replace").strip("\0")


def _utf16(text: bytes, order: Order) -> str:
    """UTF-16 in the order of bytes that its zeros tell: writers disagree whether the block's order holds.

    In any text with Latin letters, digits or spaces, most zero bytes are the high ones.
    """
    first, second = text[0::2].count(0), text[1::2].count(0)
    high_first = order == ">" if first == second else first > second
    return text.decode("utf-16-be" if high_first else "utf-16-le", "replace").strip("\0\ufeff")


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _directory(entries: list[bytes]) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(entries) + struct.pack(">I", 0)
