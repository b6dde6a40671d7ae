"""Draw the mask of an edit: boxes and polygons in white on black, with a soft edge if requested."""

import io
from collections.abc import Iterable, Sequence

from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def draw_mask(
    size: Size, *, boxes: Iterable[Box] = (), polygons: Iterable[Sequence[Point]] = (), feather: float = 0.0
) -> Picture:
    """Draw a mask as a greyscale PNG: white where an image may change.

    Args:
        size: The size of the image that the mask is for.
        boxes: Rectangles; the right and the bottom edge are just outside of them.
        polygons: The corners of each, in order; it is closed by itself.
        feather: The width in pixels over which the edge fades from white to black; 0 for a hard edge.
    """
    from PIL import Image, ImageDraw, ImageFilter  # noqa: PLC0415 - starting must not wait for Pillow

    mask = Image.new("L", (size.width, size.height), 0)
    pen = ImageDraw.Draw(mask)
    for left, top, right, bottom in boxes:
        edges = (
            round(left),
            round(top),
            max(round(left), round(right) - 1),
            max(round(top), round(bottom) - 1),
        )
        pen.rectangle(edges, fill=255)
    for corners in polygons:
        pen.polygon(list(corners), fill=255)
    if feather:
        mask = mask.filter(ImageFilter.GaussianBlur(feather / 2))
    file = io.BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return Picture.check(file.getvalue())


def mask_of_transparency(picture: Picture) -> Picture:
    """Return the mask that a picture's transparency means: white where it is transparent.

    Programs for OpenAI's models erase what may change. A picture without transparency is returned as it is.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415 - starting must not wait for Pillow

    with Image.open(io.BytesIO(picture.bytes), formats=["PNG", "WEBP", "JPEG"]) as image:
        if not image.has_transparency_data:
            return picture
        mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    file = io.BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return Picture.check(file.getvalue())
