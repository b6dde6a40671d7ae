"""The chunks of a WebP file: walked, checked and spliced, without decoding a pixel.

Source: WebP Container Specification (RFC 9649), sections 2.3 to 2.7.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import exif, metadata_blocks
from vllm_image_core.imaging.metadata_blocks import Blocks
from vllm_image_core.imaging.size import Size

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_FRAME_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_SIDE_BITS = 14
_SIDE_MASK = (1 << _SIDE_BITS) - 1
_CANVAS: Final = b"VP8X"
_CANVAS_BYTES: Final = 10
_EXIF: Final = b"EXIF"
_XMP: Final = b"XMP "
_XMP_FLAG, _EXIF_FLAG, _ALPHA_FLAG = 0x04, 0x08, 0x10
_ALPHA_BIT: Final = 28
"""Of the four bytes after a VP8L's first: RFC 9649, section 3.4."""

_MAX_CHUNKS: Final = 65_536


def is_webp(data: bytes) -> bool:
    """Whether the first bytes are those of a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def size(data: bytes) -> Size:
    """The size that the first chunk of a WebP tells.

    Raises:
        BadPicture: The first chunk tells no size.
    """
    kind, content = data[12:16], data[20:30]
    if kind == _CANVAS and len(content) == _CANVAS_BYTES:
        return Size(int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1)
    if kind == b"VP8L" and content[:1] == bytes([_LOSSLESS_START]):
        bits = int.from_bytes(content[1:5], "little")
        return Size((bits & _SIDE_MASK) + 1, (bits >> _SIDE_BITS & _SIDE_MASK) + 1)
    if kind == b"VP8 " and content[3:6] == _FRAME_START:
        width = int.from_bytes(content[6:8], "little") & _SIDE_MASK
        height = int.from_bytes(content[8:10], "little") & _SIDE_MASK
        if width and height:
            return Size(width, height)
    raise BadPicture(f"The WebP's {len(data)} bytes tell no size.")


def check(data: bytes) -> int:
    """Check that a WebP is whole, and return how long it is in bytes.

    WebP has no checksums: a damaged byte within a chunk is not found. Spaces and zero bytes may follow.

    Raises:
        BadPicture: It is shorter than it says, has no picture data, or something else follows it.
    """
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise BadPicture(f"The WebP is cut off after {len(data)} of {length} bytes.")
    if data[length:].strip(b"\0 \t\r\n"):
        raise BadPicture(f"{len(data) - length} bytes that are no part of the WebP follow its end.")
    kinds = (chunk.kind for chunk in _chunks(data[:length]))
    if not {b"VP8 ", b"VP8L", b"ANMF"}.intersection(kinds):
        raise BadPicture("The WebP has no picture data.")
    return length


def with_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> bytes:
    """A checked WebP with these texts, each in a chunk that replaces a former one; no pixel changes.

    A simple file gets the canvas chunk that an extended one begins with. "parameters" is written as EXIF's
    UserComment, a packet of XMP as it is.

    Args:
        data: The WebP.
        texts: By keyword.
        alone: Whether EXIF and XMP are removed where no text replaces them; how the picture is turned is
            kept.

    Raises:
        ValueError: A text has another keyword.
        BadPicture: There is no chunk.
    """
    chunks = list(_chunks(data))
    if not chunks:
        raise BadPicture("The WebP has no picture data.")
    new = metadata_blocks.blocks(texts, replaced=_blocks(data, chunks), alone=alone)
    replaced = {_EXIF} if alone or new.exif is not None else set[bytes]()
    replaced |= {_XMP} if alone or new.xmp is not None else set[bytes]()
    kept = [chunk for chunk in chunks if chunk.kind not in replaced | {_CANVAS}]
    flags = _flags(data, chunks) & ~(_EXIF_FLAG * alone | _XMP_FLAG * alone)
    parts = [data[chunk.start : chunk.end] for chunk in kept]
    if new.exif is not None:
        flags |= _EXIF_FLAG
        parts.append(_chunk(_EXIF, new.exif))
    if new.xmp is not None:
        flags |= _XMP_FLAG
        parts.append(_chunk(_XMP, new.xmp))
    canvas = bytes([flags, 0, 0, 0]) + _side(size(data).width) + _side(size(data).height)
    content = b"".join([b"WEBP", _chunk(_CANVAS, canvas), *parts])
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def read_texts(data: bytes) -> dict[str, str]:
    """The texts in EXIF and XMP by the keywords that PNG has, whatever else is wrong with the file."""
    return metadata_blocks.texts(_blocks(data, list(_chunks(data)))) if is_webp(data) else {}


def read_packet(data: bytes) -> dict[str, str]:
    """The packet of XMP alone, which is read sooner than all texts; for any bytes at all."""
    return metadata_blocks.packet_text(_blocks(data, list(_chunks(data)))) if is_webp(data) else {}


def orientation(data: bytes) -> int:
    """How the picture is to be turned, as EXIF has it; 1, upright, where nothing is told."""
    return exif.read(_blocks(data, list(_chunks(data))).exif or b"").orientation


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where a chunk lies: `start` is its first byte in the file, `length` that of its content."""

    kind: bytes
    start: int
    length: int

    @property
    def content(self) -> slice:
        """Where its content lies in the file."""
        return slice(self.start + _CHUNK_HEADER_BYTES, self.start + _CHUNK_HEADER_BYTES + self.length)

    @property
    def end(self) -> int:
        """The first byte after it and the byte that makes its length even."""
        return self.start + _CHUNK_HEADER_BYTES + self.length + self.length % 2


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Each chunk whose content lies wholly in the data."""
    return islice(_all_chunks(data), _MAX_CHUNKS)


def _all_chunks(data: bytes) -> Iterator[_Chunk]:
    position = _RIFF_HEADER_BYTES
    while position + _CHUNK_HEADER_BYTES <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        chunk = _Chunk(data[position : position + 4], position, length)
        if chunk.content.stop > len(data):
            return
        yield chunk
        position = chunk.end


def _blocks(data: bytes, chunks: list[_Chunk]) -> Blocks:
    """EXIF and XMP, the first of each."""
    found = {chunk.kind: data[chunk.content] for chunk in reversed(chunks) if chunk.kind in (_EXIF, _XMP)}
    return Blocks(exif=found.get(_EXIF), xmp=found.get(_XMP))


def _flags(data: bytes, chunks: list[_Chunk]) -> int:
    """The flags of the canvas; for a file without one, whether its pixels are see-through."""
    first = chunks[0]
    content = data[first.content]
    if first.kind == _CANVAS:
        return content[0]
    if first.kind == b"VP8L" and int.from_bytes(content[1:5], "little") >> _ALPHA_BIT & 1:
        return _ALPHA_FLAG
    return 0


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)


def _side(pixels: int) -> bytes:
    return (pixels - 1).to_bytes(3, "little")
