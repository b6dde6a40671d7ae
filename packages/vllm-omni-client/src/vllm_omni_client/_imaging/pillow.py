"""Pillow, asked for when pixels are wanted and not before: it is no dependency of the client."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def open_image(data: bytes) -> "Image.Image":
    """Unpack a PNG, JPEG or WebP with Pillow, which is asked for here and nowhere else.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415  # an optional dependency
    except ImportError as error:
        raise ImportError("pictures are unpacked with Pillow: pip install pillow") from error
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        image.load()
        return image
