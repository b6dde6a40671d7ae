"""Detect an image that is one colour all over, the usual output of a model that fails silently."""

from typing import TYPE_CHECKING, Final

from vllm_omni_client.imaging import FlatColourDetector, png_header

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import png
from vllm_image_core.imaging.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

_ROUNDING: Final = 4
"""How far JPEG and WebP may be off a colour, out of 255."""


def flat_colour(picture: Picture) -> str | None:
    """Return an image's only colour as "#rrggbb"; None if it has more than one, or is damaged.

    A PNG is decompressed line by line up to the first line that differs, which in nearly every image is the
    first: microseconds, or some ten milliseconds for a flat image. Other formats, interlaced PNG and those
    with fewer than 8 bits are decoded. Transparent pixels count by their colour.
    """
    if picture.format != "png":
        return _decode_colour(picture)
    detector = FlatColourDetector(png_header(picture.bytes), least_pixels=1)
    if not detector.open:
        return _decode_colour(picture)
    content = memoryview(picture.bytes)
    for chunk in png.chunks(picture.bytes):
        if chunk.kind == b"IDAT" and detector.open:
            detector.feed(content[chunk.content])
    return detector.colour


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
