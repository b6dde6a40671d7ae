"""Enlarge an image, or place it on a larger canvas whose margins continue its edges, blurred."""

import io
from typing import TYPE_CHECKING, Final

from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size

if TYPE_CHECKING:
    from PIL import Image

_BLUR_OF_SIDE: Final = 0.05
"""How far the margins are blurred, as a part of the canvas's longer side: colours stay, details do not."""

_KEPT_MODES: Final = frozenset({"L", "LA", "RGB", "RGBA"})


def enlarge(picture: Picture, size: Size) -> Picture:
    """Resample an image to another size."""
    return _as_png(_resized(_pixels(picture), size))


def extend(picture: Picture, *, canvas: Size, placed: Size, left: int, top: int) -> Picture:
    """Place an image on a larger canvas; what lies beyond it continues its edges, blurred.

    Args:
        picture: The image.
        canvas: The size of the result.
        placed: The size to which the image is resampled first.
        left: Pixels between the canvas's left edge and the image.
        top: Pixels between the canvas's top edge and the image.
    """
    from PIL import ImageFilter  # noqa: PLC0415 - starting must not wait for Pillow

    image = _resized(_pixels(picture), placed)
    radius = max(canvas.width, canvas.height) * _BLUR_OF_SIDE
    background = _stretched_edges(image, canvas, left, top).filter(ImageFilter.GaussianBlur(radius))
    background.paste(image, (left, top))
    return _as_png(background)


def _stretched_edges(image: "Image.Image", canvas: Size, left: int, top: int) -> "Image.Image":
    """Repeat the first and last rows and columns of an image out to the edges of the canvas."""
    from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

    right, bottom = canvas.width - left - image.width, canvas.height - top - image.height
    wide = Image.new(image.mode, (canvas.width, image.height))
    wide.paste(image, (left, 0))
    if left:
        first = image.crop((0, 0, 1, image.height))
        wide.paste(_resized(first, Size(left, image.height)), (0, 0))
    if right:
        last = image.crop((image.width - 1, 0, image.width, image.height))
        wide.paste(_resized(last, Size(right, image.height)), (left + image.width, 0))
    tall = Image.new(image.mode, (canvas.width, canvas.height))
    tall.paste(wide, (0, top))
    if top:
        first = wide.crop((0, 0, canvas.width, 1))
        tall.paste(_resized(first, Size(canvas.width, top)), (0, 0))
    if bottom:
        last = wide.crop((0, image.height - 1, canvas.width, image.height))
        tall.paste(_resized(last, Size(canvas.width, bottom)), (0, top + image.height))
    return tall


def _pixels(picture: Picture) -> "Image.Image":
    image = picture.upright()
    return image if image.mode in _KEPT_MODES else image.convert("RGB")


def _resized(image: "Image.Image", size: Size) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

    if image.size == (size.width, size.height):
        return image
    return image.resize((size.width, size.height), Image.Resampling.LANCZOS)  # pyright: ignore[reportUnknownMemberType] - Pillow's own


def _as_png(image: "Image.Image") -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return Picture.check(file.getvalue())
