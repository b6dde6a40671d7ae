"""Flatness: whether a picture is one colour all over, which is what a model that failed in silence draws."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import BadPicture
from vllm_image_core.formats.scanlines import Layout, filtered_lines
from vllm_image_core.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["flat_colour"]

_ROUNDING: Final = 4
"""By how much JPEG and WebP may miss a colour, out of 255."""

_FILTERS: Final = range(5)
"""PNG, section 9.2: none, left, up, their average, and whichever of three is nearest."""


def flat_colour(picture: Picture) -> str | None:
    """The colour, as "#rrggbb", of a picture that has no other; None where it has more, or is damaged.

    A PNG is unpacked line by line up to the first that differs, which is the first of nearly every picture:
    microseconds, and some ten milliseconds for a flat one. Other formats, interlaced PNG and those of fewer
    than 8 bits are decoded. See-through pixels count by their colour.
    """
    layout = Layout.of(picture.bytes) if picture.format == "png" else None
    if layout is None:
        return _decoded_colour(picture)
    pixel = _only_pixel(picture.bytes, layout)
    return None if pixel is None else _named(pixel, layout)


def _only_pixel(data: bytes, layout: Layout) -> bytes | None:
    """The bytes of the pixel of which a PNG consists, compared while the lines are still filtered."""
    pixel, expected = b"", dict[int, bytes]()
    lines = 0
    for line in filtered_lines(data, layout):
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
    """What a line of one colour under another such line looks like, by its filter."""
    return {
        kind: bytes([kind])
        + bytes((value - _predicted(kind, 0, up)) % 256 for value, up in zip(pixel, above, strict=True))
        + bytes((value - _predicted(kind, value, up)) % 256 for value, up in zip(pixel, above, strict=True))
        * (width - 1)
        for kind in _FILTERS
    }


def _predicted(kind: int, left: int, up: int) -> int:
    """What a filter takes off a byte; the last takes `left`, or at the edge, where that is 0, `up`."""
    return (0, left, up, (left + up) // 2, left or up)[kind]


def _named(pixel: bytes, layout: Layout) -> str:
    high = pixel[:: layout.sample_bytes]  # of two bytes the first says nearly all
    red, green, blue = high[:3] if layout.coloured else high[:1] * 3
    return f"#{red:02x}{green:02x}{blue:02x}"


def _decoded_colour(picture: Picture) -> str | None:
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
