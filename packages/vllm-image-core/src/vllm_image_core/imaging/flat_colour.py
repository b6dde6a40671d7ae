"""Detect an image that is one colour all over, the usual output of a model that fails silently."""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import png
from vllm_image_core.imaging.picture import Picture

if TYPE_CHECKING:
    from PIL import Image


_COLOURED: Final = (2, 6)
_PALETTE: Final = 3
_BITS: Final = 8
_PART_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the pixels are stored in a PNG with samples of 8 or 16 bits, not interlaced.

    Attributes:
        width: Pixels per line.
        height: Lines.
        pixel_bytes: Bytes per pixel.
        sample_bytes: Bytes per sample, 1 or 2.
        coloured: Whether a pixel begins with red, green and blue; otherwise with a shade of grey.
    """

    width: int
    height: int
    pixel_bytes: int
    sample_bytes: int
    coloured: bool

    @classmethod
    def of(cls, data: bytes) -> Self | None:
        """Read the layout of a PNG; None if it is interlaced, has a palette, or fewer than 8 bits a sample.

        Raises:
            BadPicture: The header is cut off, or has values that are not allowed in a PNG.
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


def read_filtered_lines(data: bytes, layout: Layout) -> Iterator[bytes]:
    """Yield each line as it was compressed: its filter, then its bytes. Ends early if the PNG is damaged.

    Decompresses as it goes: whatever the size of the image, little more than a line is in memory.
    """
    return islice(_lines(data, 1 + layout.width * layout.pixel_bytes), layout.height)


def _lines(data: bytes, length: int) -> Iterator[bytes]:
    waiting = b""
    with suppress(zlib.error):
        for part in _unpack(data):
            waiting += part
            complete = len(waiting) // length * length
            yield from (waiting[start : start + length] for start in range(0, complete, length))
            waiting = waiting[complete:]


def _unpack(data: bytes) -> Iterator[bytes]:
    unpacking = zlib.decompressobj()
    for packed in _packed_chunks(data):
        rest: bytes | memoryview = packed
        while rest and not unpacking.eof:
            yield unpacking.decompress(rest, _PART_BYTES)
            rest = unpacking.unconsumed_tail


def _packed_chunks(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for chunk in png.chunks(data):
        if chunk.kind == b"IDAT":
            content = view[chunk.content]
            yield from (content[at : at + _PART_BYTES] for at in range(0, len(content), _PART_BYTES))


_ROUNDING: Final = 4
"""How far JPEG and WebP may be off a colour, out of 255."""

_FILTERS: Final = range(5)
"""PNG, section 9.2: none, left, up, average and Paeth."""


def flat_colour(picture: Picture) -> str | None:
    """Return an image's only colour as "#rrggbb"; None if it has more than one, or is damaged.

    A PNG is decompressed line by line up to the first line that differs, which in nearly every image is the
    first: microseconds, or some ten milliseconds for a flat image. Other formats, interlaced PNG and those
    with fewer than 8 bits are decoded. Transparent pixels count by their colour.
    """
    layout = Layout.of(picture.bytes) if picture.format == "png" else None
    if layout is None:
        return _decode_colour(picture)
    pixel = _only_pixel(picture.bytes, layout)
    return None if pixel is None else _colour_name(pixel, layout)


def _only_pixel(data: bytes, layout: Layout) -> bytes | None:
    """Return the bytes of the pixel that fills a PNG, if one does; lines are compared while filtered."""
    pixel, expected = b"", dict[int, bytes]()
    lines = 0
    for line in read_filtered_lines(data, layout):
        if not lines:
            pixel = line[1 : 1 + layout.pixel_bytes]
            expected = _flat_lines(pixel, bytes(len(pixel)), layout.width)
        elif lines == 1:
            expected = _flat_lines(pixel, pixel, layout.width)
        if line != expected.get(line[0]):
            return None
        lines += 1
    return pixel if lines == layout.height else None


def _flat_lines(pixel: bytes, above: bytes, width: int) -> Mapping[int, bytes]:
    """Return, by filter, the bytes of a line of one colour below another such line."""
    return {
        kind: bytes([kind])
        + bytes((value - _prediction(kind, 0, up)) % 256 for value, up in zip(pixel, above, strict=True))
        + bytes((value - _prediction(kind, value, up)) % 256 for value, up in zip(pixel, above, strict=True))
        * (width - 1)
        for kind in _FILTERS
    }


def _prediction(kind: int, left: int, up: int) -> int:
    """Return what a filter subtracts from a byte; the last takes `left`, or `up` at the edge (left is 0)."""
    return (0, left, up, (left + up) // 2, left or up)[kind]


def _colour_name(pixel: bytes, layout: Layout) -> str:
    high = pixel[:: layout.sample_bytes]  # the first of two bytes is the significant one
    red, green, blue = high[:3] if layout.coloured else high[:1] * 3
    return f"#{red:02x}{green:02x}{blue:02x}"


def _decode_colour(picture: Picture) -> str | None:
    try:
        image: Image.Image = picture.pil().convert("RGB")
    except BadPicture:
        return None
    bands = [band.getextrema() for band in image.split()]
    darkest = [int(least) for least, _ in bands if isinstance(least, int | float)]
    flat = all(
        isinstance(most, int | float) and most - least <= _ROUNDING
        for least, (_, most) in zip(darkest, bands, strict=True)
    )
    return f"#{darkest[0]:02x}{darkest[1]:02x}{darkest[2]:02x}" if flat else None
