"""A thumbnail: a picture decoded, upright, opaque and no larger than a box."""

from typing import TYPE_CHECKING, Final

from vllm_image_core.parameters.size import Size
from vllm_image_core.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["fitted", "thumbnail"]

_KEPT_MODES: Final = ("L", "LA", "RGB", "RGBA")
_GAP: Final = 2.0
"""How much larger than the box a picture is reduced to in fast steps, before the last, careful one."""


def thumbnail(picture: Picture, box: Size) -> "Image.Image":
    """The picture in RGB within a box, its shape kept; see-through parts are white. Never enlarged.

    Raises:
        BadPicture: The pixels cannot be decoded.
    """
    image = _in_eight_bits(picture.upright())
    image.thumbnail((box.width, box.height), reducing_gap=_GAP)
    return _opaque(image)


def fitted(image: "Image.Image", box: Size) -> "Image.Image":
    """An image enlarged or reduced to fill a box as far as its shape allows."""
    scale = min(box.width / image.width, box.height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size)  # pyright: ignore[reportUnknownMemberType] - Pillow names numpy


def _in_eight_bits(image: "Image.Image") -> "Image.Image":
    from PIL import Image  # noqa: PLC0415 - likewise

    if image.mode == "I;16":  # converting cuts at 255; the second of two bytes is the high one
        return Image.frombytes("L", image.size, image.tobytes()[1::2])
    if image.has_transparency_data:
        return image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    return image if image.mode in _KEPT_MODES else image.convert("RGB")


def _opaque(image: "Image.Image") -> "Image.Image":
    from PIL import Image  # noqa: PLC0415 - likewise

    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
