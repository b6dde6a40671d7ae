"""The lines of pixels in a PNG, unpacked one by one and still filtered."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from vllm_image_core.formats import png

__all__ = ["Layout", "filtered_lines"]

_COLOURED: Final = (2, 6)
_PALETTE: Final = 3
_BITS: Final = 8
_PART_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How pixels lie in their lines: whole bytes, not interlaced.

    Attributes:
        width: Pixels of a line.
        height: Lines.
        pixel_bytes: Bytes of a pixel.
        sample_bytes: Bytes of a sample, 1 or 2.
        coloured: Whether a pixel begins with red, green and blue; otherwise with a shade of grey.
    """

    width: int
    height: int
    pixel_bytes: int
    sample_bytes: int
    coloured: bool

    @classmethod
    def of(cls, data: bytes) -> Self | None:
        """How they lie in a PNG; None where they are interlaced, of a palette, or of fewer than 8 bits.

        Raises:
            BadPicture: The header is cut off, or has values that no PNG has.
        """
        header = png.header(data)
        if header.interlaced or header.depth < _BITS or header.colour == _PALETTE:
            return None
        sample_bytes = header.depth // _BITS
        return cls(
            width=header.size.width,
            height=header.size.height,
            pixel_bytes=header.samples * sample_bytes,
            sample_bytes=sample_bytes,
            coloured=header.colour in _COLOURED,
        )


def filtered_lines(data: bytes, layout: Layout) -> Iterator[bytes]:
    """Each line as it was packed: its filter, then its bytes. Ends early where the PNG is damaged.

    Unpacks as it goes: whatever the size of the picture, little more than a line is held.
    """
    return islice(_lines(data, 1 + layout.width * layout.pixel_bytes), layout.height)


def _lines(data: bytes, length: int) -> Iterator[bytes]:
    waiting = b""
    with suppress(zlib.error):
        for part in _unpacked(data):
            waiting += part
            whole = len(waiting) // length * length
            yield from (waiting[start : start + length] for start in range(0, whole, length))
            waiting = waiting[whole:]


def _unpacked(data: bytes) -> Iterator[bytes]:
    unpacking = zlib.decompressobj()
    for packed in _packed(data):
        rest: bytes | memoryview = packed
        while rest and not unpacking.eof:
            yield unpacking.decompress(rest, _PART_BYTES)
            rest = unpacking.unconsumed_tail


def _packed(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for chunk in png.chunks(data):
        if chunk.kind == b"IDAT":
            content = view[chunk.content]
            yield from (content[at : at + _PART_BYTES] for at in range(0, len(content), _PART_BYTES))
