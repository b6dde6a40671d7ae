"""The chunks of a WebP file: walked and checked, without decoding a pixel.

Source: WebP Container Specification (RFC 9649), sections 2.3 to 2.7.
"""

from collections.abc import Iterator

from vllm_image_core.errors import BadPicture
from vllm_image_core.size import Size

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_FRAME_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_SIDE_BITS = 14
_SIDE_MASK = (1 << _SIDE_BITS) - 1


def is_webp(data: bytes) -> bool:
    """Whether the first bytes are those of a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def size(data: bytes) -> Size:
    """The size that the first chunk of a WebP tells.

    Raises:
        BadPicture: The first chunk tells no size.
    """
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X" and len(content) == 10:  # noqa: PLR2004 - section 2.7
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
    if not {b"VP8 ", b"VP8L", b"ANMF"}.intersection(_kinds(data[:length])):
        raise BadPicture("The WebP has no picture data.")
    return length


def _kinds(data: bytes) -> Iterator[bytes]:
    """The kind of each chunk that lies wholly in the data."""
    position = _RIFF_HEADER_BYTES
    while position + _CHUNK_HEADER_BYTES <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        content_end = position + _CHUNK_HEADER_BYTES + length
        if content_end > len(data):
            return
        yield data[position : position + 4]
        position = content_end + length % 2
