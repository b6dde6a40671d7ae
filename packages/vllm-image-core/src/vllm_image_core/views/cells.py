"""Cells: places of one size for pictures of different shapes, and what is drawn into them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.parameters import bounds
from vllm_image_core.parameters.size import Size
from vllm_image_core.picture import Picture
from vllm_image_core.views.thumbnail import fitted, thumbnail

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

__all__ = ["INK", "PAPER", "CellShape", "check_count", "draw_cell", "drawn_within", "thumbnails"]

PAPER: Final = "#ffffff"
INK: Final = "#1a1a1a"
_EMPTY: Final = "#e9e9ec"
_FAINT: Final = "#b4b4bb"

MAX_PICTURES: Final = 256
_NARROWEST: Final = 0.4
_WIDEST: Final = 2.5
_ENLARGED_TO: Final = 256
"""Pixels up to which a tiny picture's cell grows, so that its number and caption can be read."""


def check_count(pictures: Sequence[object], *, expected: int | None = None) -> None:
    """Check how many pictures there are.

    Raises:
        InvalidRequest: None, more than 256, or another number than is expected.
    """
    count = len(pictures)
    bounds.integer("pictures", count, 1, MAX_PICTURES, allowed=f"1 to {MAX_PICTURES} pictures")
    if expected is not None and count != expected:
        raise InvalidRequest(
            f"There are {count} pictures for {expected} places.",
            parameter="pictures",
            value=count,
            allowed=f"{expected} pictures, None for an empty place",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellShape:
    """The shape that all cells have, and how high they may become."""

    aspect: float
    """Width over height."""
    highest: int

    @classmethod
    def of(cls, pictures: Sequence[Picture | None]) -> Self:
        """The middle one of the pictures' shapes, neither a needle nor a ribbon; as high as they need."""
        sizes = [picture.size for picture in pictures if picture is not None]
        aspect = min(_WIDEST, max(_NARROWEST, median(size.aspect for size in sizes) if sizes else 1.0))
        needed = max((max(size.height, size.width / aspect) for size in sizes), default=0)
        return cls(aspect=aspect, highest=max(_ENLARGED_TO, math.ceil(needed)))

    def within(self, width: float, height: float) -> Size:
        """The largest cell in so much room."""
        high = max(1, math.floor(min(height, width / self.aspect, self.highest)))
        return Size(max(1, min(math.floor(width), round(high * self.aspect))), high)


def drawn_within(side: int, size_of: Callable[[int], tuple[int, int]]) -> int:
    """The longest side to draw for, before the whole is reduced: larger where letters and gaps need more.

    Args:
        side: What the picture may have in the end, in pixels.
        size_of: What is needed of a side that may be had.
    """
    while max(size_of(side)) > side:
        side *= 2
    return side


def thumbnails(pictures: Sequence[Picture | None], box: Size) -> "list[Image.Image | None]":
    """Each picture decoded, one after the other, and made small enough for a cell; None for what is none."""
    return [None if picture is None else _thumbnail(picture, box) for picture in pictures]


def draw_cell(
    sheet: "Image.Image",
    pen: "ImageDraw.ImageDraw",
    image: "Image.Image | None",
    *,
    at: tuple[int, int],
    box: Size,
) -> None:
    """Draw a picture into the middle of its cell, or an empty place."""
    left, top = at
    right, bottom = left + box.width - 1, top + box.height - 1
    if image is None:
        pen.rectangle((left, top, right, bottom), fill=_EMPTY, outline=_FAINT)
        pen.line((left, top, right, bottom), fill=_FAINT)
        pen.line((left, bottom, right, top), fill=_FAINT)
        return
    drawn = fitted(image, box)
    if drawn.size != (box.width, box.height):
        pen.rectangle((left, top, right, bottom), fill=_EMPTY)
    corner = (left + (box.width - drawn.width) // 2, top + (box.height - drawn.height) // 2)
    sheet.paste(drawn, corner)


def _thumbnail(picture: Picture, box: Size) -> "Image.Image | None":
    try:
        return thumbnail(picture, box)
    except BadPicture:
        return None
