"""Read and write EXIF blocks, whose comment holds an image's settings for other tools.

Source: Exif 2.32 and 3.0 (CIPA DC-008), sections 4.5 and 4.6; TIFF 6.0, section 2. AUTOMATIC1111, Forge and
SD.Next write the comment as big-endian UTF-16 after the code UNICODE. ComfyUI's WebP files have their JSON,
and Fooocus's files their comment, in the first directory. Windows adds a title and a comment as "XP" tags.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from vllm_image_core.imaging.exif_text import Order, comment_text, plain_text, wide_text

PREFIX: Final = b"Exif\0\0"
"""The bytes before the block in a JPEG, and in some WebP files."""

_BIG_ENDIAN: Final = b"MM\0*"
_LITTLE_ENDIAN: Final = b"II*\0"
_ORIENTATION: Final = 0x0112
_EXIF_DIRECTORY: Final = 0x8769
_EXIF_VERSION: Final = 0x9000
_USER_COMMENT: Final = 0x9286
_POINTERS: Final = frozenset({_EXIF_DIRECTORY, 0x8825, 0xA005, 0x014A})
"""Tags that point to further directories: Exif's own, GPS, interoperability, and those of TIFF."""

_NAMED: Final[Mapping[int, str]] = {
    0x010E: "Description",
    0x0131: "Software",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9F: "XPSubject",
}
"""Keywords for ImageDescription, Software and the tags of Windows; the first two are those of PNG."""

_WIDE: Final = range(0x9C9B, 0x9CA0)
_BYTE, _ASCII, _SHORT, _LONG, _UNDEFINED, _UTF_8 = 1, 2, 3, 4, 7, 129
_BYTES_OF_TYPE: Final = {_BYTE: 1, _ASCII: 1, _SHORT: 2, _LONG: 4, _UNDEFINED: 1, _UTF_8: 1}
_UNICODE: Final = b"UNICODE\0"
_MAX_DIRECTORIES: Final = 16
_MAX_COMMENTS: Final = 4
_ENTRY_BYTES: Final = 12
_INLINE_BYTES: Final = 4
_MAX_ENTRIES: Final = 256
_MAX_TEXTS: Final = 16
_ORIENTATIONS: Final = range(1, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exif:
    """The values of an EXIF block that are read here.

    Attributes:
        comment: The UserComment, preferably a non-blank one of the Exif directory; None if there is none.
        texts: The texts of the first directory, in its order: maker, model, software and the like.
        orientation: How a viewer must turn the image, 1 to 8; 1 is upright.
        more_comments: The UserComments of further directories.
        named: The description, the software, and the title and comment that Windows writes, by keyword.
    """

    comment: str | None = None
    texts: tuple[str, ...] = ()
    orientation: int = 1
    more_comments: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict[str, str])


def encode(comment: str, *, orientation: int = 1) -> bytes:
    """Encode a block with a comment, without PREFIX; lone surrogates, invalid in UTF-16, become U+FFFD."""
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
    """Read a block, with or without PREFIX; if it is damaged, read as much as possible."""
    tiff = memoryview(block.removeprefix(PREFIX))
    start = bytes(tiff[:4])
    order: Order = "<" if start == _LITTLE_ENDIAN else ">"
    if start not in (_BIG_ENDIAN, _LITTLE_ENDIAN):
        return Exif()
    directories = list(islice(_directories(tiff, order), _MAX_DIRECTORIES))
    first = directories[0] if directories else ()
    comments = tuple(_comments(directories, order))
    turns = [_number(entry.value, order) for entry in first if entry.tag == _ORIENTATION]
    texts = (entry.text(order) for entry in first if entry.kind in (_ASCII, _UTF_8))
    return Exif(
        comment=comments[0] if comments else None,
        texts=tuple(islice(texts, _MAX_TEXTS)),
        orientation=turns[0] if turns and turns[0] in _ORIENTATIONS else 1,
        more_comments=comments[1:],
        named=_by_name(directories, order),
    )


def _directories(tiff: memoryview, order: Order) -> Iterator[list["_Entry"]]:
    """Yield each directory once: the first, those that it points to, and the next in the chain."""
    waiting, seen = [_number(tiff[4:8], order)], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        start = waiting.pop(0)
        if start in seen:
            continue
        seen.add(start)
        entries = list(_entries(tiff, order, start))
        yield entries
        pointers = [entry for entry in entries if entry.tag in _POINTERS and entry.kind == _LONG]
        waiting += [_number(pointer.value[:4], order) for pointer in pointers]
        after = start + 2 + _number(tiff[start : start + 2], order) * _ENTRY_BYTES
        waiting += [_number(tiff[after : after + 4], order)] if after + 4 <= len(tiff) else []
        waiting = [at for at in waiting if at]


def _comments(directories: Sequence[Sequence["_Entry"]], order: Order) -> Iterator[str]:
    """Yield the comments: non-blank ones first, and of these the Exif directory's, as in the standard."""
    found = [
        (_rank(number, entries), entry.value)
        for number, entries in enumerate(directories)
        for entry in entries
        if entry.tag == _USER_COMMENT and _BYTES_OF_TYPE[entry.kind] == 1
    ]
    texts = [(rank, comment_text(bytes(value), order)) for rank, value in islice(found, _MAX_COMMENTS)]
    yield from (text for _, text in sorted(texts, key=lambda each: (not each[1].strip(), each[0])))


def _rank(number: int, entries: Sequence["_Entry"]) -> int:
    """Return 0 for Exif's own directory, which usually has a version; the others follow in order."""
    is_exif = number > 0 and any(entry.tag == _EXIF_VERSION for entry in entries)
    return 0 if is_exif else number + 1


def _by_name(directories: Sequence[Sequence["_Entry"]], order: Order) -> dict[str, str]:
    named: dict[str, str] = {}
    for entry in (entry for entries in directories for entry in entries):
        keyword = _NAMED.get(entry.tag)
        if keyword is not None and _BYTES_OF_TYPE[entry.kind] == 1 and keyword not in named:
            text = entry.text(order)
            if text.strip():
                named[keyword] = text
    return named


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    value: memoryview

    def text(self, order: Order) -> str:
        value = bytes(self.value)
        return wide_text(value, order) if self.tag in _WIDE else plain_text(value, order)


def _entries(tiff: memoryview, order: Order, start: int) -> Iterator[_Entry]:
    """Yield the entries of the directory at an offset whose value lies completely in the block."""
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


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _directory(entries: list[bytes]) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(entries) + struct.pack(">I", 0)
