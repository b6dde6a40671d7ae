"""Decode images with Pillow, which is optional and imported only when needed."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def open_image(data: bytes) -> "Image.Image":
    """Decode a PNG, JPEG or WebP with Pillow; no other module imports it.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415  # an optional dependency
    except ImportError as error:
        raise ImportError("decoding images requires Pillow: pip install pillow") from error
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        image.load()
        return image
