"""The chunks of a PNG file: walked, checked, and spliced, without decoding a pixel.

Source: PNG (Third Edition), W3C Recommendation of 24 June 2025, sections 5, 11 and 13.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vllm_image_core.errors import BadPicture
from vllm_image_core.size import Size
from vllm_image_core.text import TextTooLong

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_TEXT_BYTES = 1_048_576
"""A text of more than 1 MiB is neither written nor read; Pillow's own limit is the same."""

MAX_TEXTS = 64
"""How many texts are read from one file."""

_MAX_CHUNKS = 65_536
"""libpng cuts the largest picture that vLLM-Omni makes into about 17,000 chunks of 8 KiB."""

_MAX_DEFLATE_RATIO = 1032
"""Deflate never packs more than this many bytes into one."""

_HEADER = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_FRAME_BYTES = 12
_IHDR_END = len(SIGNATURE) + _FRAME_BYTES + _IHDR.size
_MAX_SIDE = 2**31 - 1

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
_EXIF = b"eXIf"
_ALWAYS_INTERNATIONAL = "XML:com.adobe.xmp"
"""Section 11.3.3.4: XMP stands in an iTXt chunk, whatever its characters."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk lies: `start` is its first byte in the file, `length` that of its content."""

    kind: bytes
    start: int
    length: int

    @property
    def content(self) -> slice:
        """Where its content lies in the file."""
        return slice(self.start + 8, self.start + 8 + self.length)

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + _FRAME_BYTES + self.length


@dataclass(frozen=True, slots=True)
class Header:
    """What the first chunk tells: `colour` is the kind of colours, `depth` the bits of each sample."""

    size: Size
    depth: int
    colour: int
    interlaced: bool

    @property
    def samples(self) -> int:
        """How many samples a pixel has."""
        return _SAMPLES[self.colour]

    @property
    def pixel_bytes(self) -> int:
        """How many bytes the pixels have, unpacked, at the least."""
        return self.size.height * ((self.size.width * self.depth * self.samples + 7) // 8)


def header(data: bytes) -> Header:
    """What the first chunk of a PNG tells.

    Raises:
        BadPicture: It is cut off, or has values that no PNG has.
    """
    if len(data) < _IHDR_END:
        raise BadPicture(f"The PNG is cut off after {len(data)} bytes, within its header.")
    if not data.startswith(SIGNATURE) or _HEADER.unpack_from(data, len(SIGNATURE)) != (_IHDR.size, b"IHDR"):
        raise BadPicture("The PNG does not begin with a header.")
    width, height, depth, colour, packing, filtering, interlacing = _IHDR.unpack_from(
        data, len(SIGNATURE) + 8
    )
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise BadPicture(f"The PNG says that its size is {width}x{height}.")
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlacing > 1:
        raise BadPicture("The PNG's header has values that no PNG has.")
    return Header(Size(width, height), depth, colour, bool(interlacing))


def size(data: bytes) -> Size:
    """The size that the header of a PNG tells.

    Raises:
        BadPicture: The header is cut off, or has values that no PNG has.
    """
    return header(data).size


def check(data: bytes) -> int:
    """Check that a PNG is whole, and return how many bytes long it is.

    Each chunk is there with its checksum, in order, up to IEND; nothing but spaces and zero bytes follows.
    The compressed pixels are not unpacked, but there must be enough of them for the size.

    Raises:
        BadPicture: The bytes are no whole PNG.
    """
    head = header(data)
    kinds: list[bytes] = []
    pixel_bytes = length = 0
    for chunk in _whole_chunks(data):
        if chunk.kind == b"IDAT":
            pixel_bytes += chunk.length
            if kinds[-1] != b"IDAT" and b"IDAT" in kinds:
                raise BadPicture("The PNG's picture data are torn apart by another chunk.")
        kinds.append(chunk.kind)
        length = chunk.end
    _check_contents(kinds, pixel_bytes, head)
    return length


def with_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> bytes:
    """A checked PNG with these texts, each keyword's former text replaced; everything else byte for byte.

    A text in Latin-1 goes into a tEXt chunk, any other and XMP into an iTXt chunk, as Pillow does it.

    Args:
        data: The PNG.
        texts: By keyword.
        alone: Whether all other texts and EXIF are removed.

    Raises:
        ValueError: A keyword is not 1 to 79 printable Latin-1 characters.
        TextTooLong: A text is longer than 1 MiB.
    """
    view = memoryview(data)
    parts = [view[:_IHDR_END], *(_text_chunk(keyword, text) for keyword, text in texts.items())]
    kept_from = _IHDR_END
    for chunk in chunks(data):
        is_text = chunk.kind in _TEXT_KINDS
        if (alone and (is_text or chunk.kind == _EXIF)) or (
            is_text and _keyword(view[chunk.content]) in texts
        ):
            parts.append(view[kept_from : chunk.start])
            kept_from = chunk.end
    return b"".join([*parts, view[kept_from:]])


def read_texts(data: bytes) -> dict[str, str]:
    """The texts of a PNG by keyword, whatever else is wrong with it; the last of a keyword counts.

    At most 64 texts of at most 1 MiB each, also unpacked; damaged ones are left out. What is in them was
    written by others: it is data, never a path or an instruction.
    """
    texts: dict[str, str] = {}
    view = memoryview(data)
    all_chunks = chunks(data) if data.startswith(SIGNATURE) else ()
    found = (chunk for chunk in all_chunks if chunk.kind in _TEXT_KINDS and chunk.length <= MAX_TEXT_BYTES)
    for count, chunk in enumerate(found, start=1):
        if count > MAX_TEXTS:
            break
        text = _text(chunk.kind, bytes(view[chunk.content])) if _has_its_checksum(view, chunk) else None
        if text is not None:
            texts[_keyword(view[chunk.content])] = text
    return texts


def _check_contents(kinds: list[bytes], pixel_bytes: int, header: Header) -> None:
    if b"IDAT" not in kinds:
        raise BadPicture("The PNG has no picture data.")
    if header.colour == _PALETTE and b"PLTE" not in kinds[: kinds.index(b"IDAT")]:
        raise BadPicture("The PNG has no palette for its colours.")
    if pixel_bytes * _MAX_DEFLATE_RATIO < header.pixel_bytes:
        raise BadPicture(
            f"The PNG's {pixel_bytes} bytes of picture data are too few for {header.size} pixels."
        )


def _whole_chunks(data: bytes) -> Iterator[Chunk]:
    """Every chunk up to IEND, each with its checksum compared."""
    view = memoryview(data)
    position = len(SIGNATURE)
    for chunk in chunks(data):
        if chunk.kind == b"IHDR" and chunk.start != len(SIGNATURE):
            raise BadPicture("The PNG has two headers.")
        if not _has_its_checksum(view, chunk):
            raise BadPicture(f"The PNG is damaged: the checksum of its {_name(chunk.kind)} chunk is wrong.")
        yield chunk
        position = chunk.end
        if chunk.kind == b"IEND":
            if chunk.length or data[chunk.end :].strip(b"\0 \t\r\n"):
                raise BadPicture(f"{len(data) - chunk.end} bytes that are no part of the PNG follow its end.")
            return
    raise BadPicture(
        f"The PNG is cut off or damaged after {position} of {len(data)} bytes: its end is missing."
    )


def chunks(data: bytes) -> Iterator[Chunk]:
    """Each chunk that lies wholly in a PNG's bytes, up to IEND, the damaged or the missing one."""
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + _FRAME_BYTES > len(data):
            return
        length, kind = _HEADER.unpack_from(data, position)
        chunk = Chunk(kind, position, length)
        if chunk.end > len(data) or not kind.isalpha():
            return
        yield chunk
        if kind == b"IEND":
            return
        position = chunk.end


def _has_its_checksum(view: memoryview, chunk: Chunk) -> bool:
    expected = int.from_bytes(view[chunk.end - 4 : chunk.end])
    return zlib.crc32(view[chunk.start + 4 : chunk.end - 4]) == expected


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "replace")


def _text_chunk(keyword: str, text: str) -> bytes:
    """A tEXt or an iTXt chunk. Zero bytes and lone surrogates, which neither can hold, become U+FFFD."""
    name = _encoded_keyword(keyword)
    clean = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if keyword != _ALWAYS_INTERNATIONAL and _is_latin_1(clean):
        kind, content = b"tEXt", name + b"\0" + clean.encode("latin-1")
    else:
        kind, content = b"iTXt", name + b"\0\0\0\0\0" + clean.encode()
    if len(content) > MAX_TEXT_BYTES:
        raise TextTooLong(keyword, len(content), MAX_TEXT_BYTES)
    return _HEADER.pack(len(content), kind) + content + zlib.crc32(kind + content).to_bytes(4)


def _is_latin_1(text: str) -> bool:
    return max(text, default="") <= "\xff"


def _encoded_keyword(keyword: str) -> bytes:
    if not 1 <= len(keyword) <= 79 or keyword != keyword.strip() or not keyword.isprintable():  # noqa: PLR2004 - 11.3.3.2
        raise ValueError(f"{keyword!r} is no keyword of 1 to 79 printable characters")
    return keyword.encode("latin-1")  # UnicodeEncodeError is a ValueError


def _keyword(content: bytes | memoryview) -> str:
    return bytes(content[:80]).partition(b"\0")[0].decode("latin-1")


def _text(kind: bytes, content: bytes) -> str | None:
    """The text in a chunk's content; None where it is damaged, or larger unpacked than a text may be."""
    keyword, zero, rest = content.partition(b"\0")
    if not zero or not 1 <= len(keyword) <= 79:  # noqa: PLR2004 - section 11.3.3.2
        return None
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        unpacked = _unpacked(rest[1:]) if rest[:1] == b"\0" else None
        return None if unpacked is None else unpacked.decode("latin-1")
    return _international_text(rest)


def _international_text(content: bytes) -> str | None:
    """After an iTXt's keyword: is it packed, how, language, the keyword translated, the text."""
    flags, rest = content[:2], content[2:]
    _, zero, rest = rest.partition(b"\0")
    _, second_zero, text = rest.partition(b"\0")
    if flags not in (b"\0\0", b"\0\1", b"\1\0") or not zero or not second_zero:
        return None
    unpacked = _unpacked(text) if flags == b"\1\0" else text
    return None if unpacked is None else unpacked.decode("utf-8", "replace")


def _unpacked(packed: bytes) -> bytes | None:
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error:
        return None
    return content if unpacking.eof and len(content) <= MAX_TEXT_BYTES else None
