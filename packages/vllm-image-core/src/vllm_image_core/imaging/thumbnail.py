"""Decode and reduce an image to a thumbnail, and encode drawings within limits of side and bytes."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.text import brief

if TYPE_CHECKING:
    from PIL import Image


_KEPT_MODES: Final = ("L", "LA", "RGB", "RGBA")
_GAP: Final = 2.0
"""How much larger than the box the fast first reduction leaves an image, before the careful last one."""


def thumbnail(picture: Picture, box: Size) -> "Image.Image":
    """Decode an image in RGB and reduce it to fit a box; transparent parts become white. Never enlarges."""
    image = _in_eight_bits(picture.upright())
    image.thumbnail((box.width, box.height), reducing_gap=_GAP)
    return _opaque(image)


def fit(image: "Image.Image", box: Size) -> "Image.Image":
    """Enlarge or reduce an image to fill a box as far as its shape allows."""
    scale = min(box.width / image.width, box.height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size)  # pyright: ignore[reportUnknownMemberType] - Pillow names numpy


def _in_eight_bits(image: "Image.Image") -> "Image.Image":
    from PIL import Image  # noqa: PLC0415 - likewise

    if image.mode == "I;16":  # convert() clips at 255; the second of two bytes is the high one
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


PreviewFormat = Literal["webp", "jpeg"]

_BEST_QUALITY: Final = 85
_WORST_QUALITY: Final = 40
"""Below this, artefacts hide details, and a smaller size shows more."""

_SEARCH_STEPS: Final = 3
_LEAST_SIDE: Final = 16
_MOST_SIDE: Final = 4096
_LEAST_BYTES: Final = 1024
_MOST_BYTES: Final = 16_777_216
_SHRINK_AT_LEAST: Final = 0.9
_SHRINK_AT_MOST: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteBudget:
    """Limits of an encoded drawing, checked on creation.

    Attributes:
        longest_side: Pixels, 16 to 4096.
        max_bytes: Bytes of the complete file, 1024 to 16 MiB.
        format: "webp" or "jpeg".

    Raises:
        InvalidRequest: A value is out of range.
    """

    longest_side: int
    max_bytes: int
    format: PreviewFormat

    def __post_init__(self) -> None:
        _check("longest_side", self.longest_side, _LEAST_SIDE, _MOST_SIDE)
        _check("max_bytes", self.max_bytes, _LEAST_BYTES, _MOST_BYTES)
        if self.format not in ("webp", "jpeg"):
            raise InvalidRequest(
                f"A preview cannot have the format {brief(self.format)}.",
                parameter="format",
                value=self.format,
                allowed='"webp" or "jpeg"',
            )

    def encode(self, draw: "Callable[[int], Image.Image]") -> Picture:
        """Draw and encode within both limits.

        `draw` gets a longest side in pixels, and is called again with a smaller one while even the lowest
        quality has too many bytes.

        Raises:
            InvalidRequest: Even a drawing of 16 pixels does not fit into max_bytes.
        """
        side = self.longest_side
        while True:
            image = draw(side)
            picture, worst_bytes = self._within(image)
            if picture is not None:
                return picture
            longest = max(image.size)
            if longest <= _LEAST_SIDE:
                raise InvalidRequest(
                    f"max_bytes {brief(self.max_bytes)} is too small for any image.",
                    parameter="max_bytes",
                    value=self.max_bytes,
                    allowed=f"more than {worst_bytes}",
                )
            wanted = math.sqrt(self.max_bytes / worst_bytes)
            side = max(_LEAST_SIDE, int(longest * min(_SHRINK_AT_LEAST, max(_SHRINK_AT_MOST, wanted))))

    def _within(self, image: "Image.Image") -> tuple[Picture | None, int]:
        """Encode at the best quality that fits; also return the bytes of the lowest quality tried."""
        best = self._encode(image, _BEST_QUALITY)
        if len(best.bytes) <= self.max_bytes:
            return best, len(best.bytes)
        found = self._encode(image, _WORST_QUALITY)
        worst_bytes = len(found.bytes)
        if worst_bytes > self.max_bytes:
            return None, worst_bytes
        low, high = _WORST_QUALITY, _BEST_QUALITY
        for _ in range(_SEARCH_STEPS):
            middle = (low + high) // 2
            tried = self._encode(image, middle)
            if len(tried.bytes) <= self.max_bytes:
                low, found = middle, tried
            else:
                high = middle
        return found, worst_bytes

    def _encode(self, image: "Image.Image", quality: int) -> Picture:
        file = io.BytesIO()
        options = {"method": 3} if self.format == "webp" else {"optimize": True}
        image.save(file, self.format, quality=quality, **options)
        return Picture(parts=(file.getvalue(),), format=self.format, width=image.width, height=image.height)


def _check(parameter: str, value: object, least: int, most: int) -> None:
    checks.check_integer(parameter, value, least, most, allowed=f"an integer from {least} to {most}")
