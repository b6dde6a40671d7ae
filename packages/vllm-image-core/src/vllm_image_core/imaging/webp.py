"""Check WebP files, and read and write their metadata chunks, without decoding a pixel.

Source: WebP Container Specification (RFC 9649), sections 2.3 to 2.7.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from vllm_omni_client.imaging import size_of

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import exif, metadata_blocks
from vllm_image_core.imaging.metadata_blocks import Blocks, Chunk

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_CANVAS: Final = b"VP8X"
_EXIF: Final = b"EXIF"
_XMP: Final = b"XMP "
_XMP_FLAG, _EXIF_FLAG, _ALPHA_FLAG = 0x04, 0x08, 0x10
_ALPHA_BIT: Final = 28
"""The bit within the four bytes after a VP8L's first one: RFC 9649, section 3.4."""

_MAX_CHUNKS: Final = 65_536


def is_webp(data: bytes) -> bool:
    """Whether the first bytes are those of a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def check(data: bytes) -> int:
    """Check that a WebP is complete, and return its length in bytes.

    WebP has no checksums: a damaged byte within a chunk is not detected. Spaces and zero bytes may follow.

    Raises:
        BadPicture: It is shorter than its header says, has no image data, or something else follows it.
    """
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise BadPicture(f"The WebP is cut off after {len(data)} of {length} bytes.")
    if data[length:].strip(b"\0 \t\r\n"):
        raise BadPicture(f"{len(data) - length} bytes that are not part of the WebP follow its end.")
    kinds = (chunk.kind for chunk in _chunks(data[:length]))
    if not {b"VP8 ", b"VP8L", b"ANMF"}.intersection(kinds):
        raise BadPicture("The WebP has no image data.")
    return length


def write_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> bytes:
    """Write texts into a checked WebP, each in a chunk that replaces an earlier one; no pixel changes.

    A simple file gets the canvas chunk with which an extended file begins. "parameters" becomes EXIF's
    UserComment; an XMP packet is written as it is. `alone` also removes all other EXIF and XMP; the
    orientation is kept. A text with another keyword is a ValueError.
    """
    chunks = list(_chunks(data))
    if not chunks:
        raise BadPicture("The WebP has no image data.")
    new = metadata_blocks.build_blocks(texts, replaced=_blocks(data, chunks), alone=alone)
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
    canvas = bytes([flags, 0, 0, 0]) + b"".join(map(_side, size_of(data)))
    content = b"".join([b"WEBP", _chunk(_CANVAS, canvas), *parts])
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def read_texts(data: bytes) -> dict[str, str]:
    """Read the texts in EXIF and XMP by their PNG keywords, even from a damaged file."""
    return metadata_blocks.read_texts(_blocks(data, list(_chunks(data)))) if is_webp(data) else {}


def read_packet(data: bytes) -> dict[str, str]:
    """Read only the XMP packet, which is faster than reading all texts; accepts any bytes."""
    return metadata_blocks.packet_text(_blocks(data, list(_chunks(data)))) if is_webp(data) else {}


def has_packet(data: bytes) -> bool:
    """Return whether the first bytes of a WebP announce an XMP packet, which comes after the image."""
    return data[12:16] == _CANVAS and bool(data[20:21]) and bool(data[20] & _XMP_FLAG)


def orientation(data: bytes) -> int:
    """Return the EXIF orientation: how a viewer must turn the image; 1 (upright) if there is none."""
    return exif.read(_blocks(data, list(_chunks(data))).exif or b"").orientation


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield each chunk whose content lies completely in the data."""
    return islice(_all_chunks(data), _MAX_CHUNKS)


def _all_chunks(data: bytes) -> Iterator[Chunk]:
    position = _RIFF_HEADER_BYTES
    while position + _CHUNK_HEADER_BYTES <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        chunk = Chunk(
            data[position : position + 4],
            position,
            length,
            position + _CHUNK_HEADER_BYTES + length + length % 2,
        )
        if chunk.content.stop > len(data):
            return
        yield chunk
        position = chunk.end


def _blocks(data: bytes, chunks: list[Chunk]) -> Blocks:
    """Return the first EXIF and the first XMP chunk."""
    found = {chunk.kind: data[chunk.content] for chunk in reversed(chunks) if chunk.kind in (_EXIF, _XMP)}
    return Blocks(exif=found.get(_EXIF), xmp=found.get(_XMP))


def _flags(data: bytes, chunks: list[Chunk]) -> int:
    """Return the flags of the canvas chunk; for a file without one, the alpha flag if it has alpha."""
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
