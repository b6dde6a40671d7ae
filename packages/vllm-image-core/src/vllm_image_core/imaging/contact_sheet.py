"""Draw a contact sheet: many images in rows, each with its number and a caption."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core import checks
from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.text_drawing import TextDrawing, line_height
from vllm_image_core.imaging.thumbnail import fit, thumbnail

if TYPE_CHECKING:
    from PIL import Image, ImageDraw


PAPER: Final = "#ffffff"
INK: Final = "#1a1a1a"
_EMPTY: Final = "#e9e9ec"
_FAINT: Final = "#b4b4bb"

MAX_PICTURES: Final = 256
_NARROWEST: Final = 0.4
_WIDEST: Final = 2.5
_ENLARGED_TO: Final = 256
"""A tiny image's cell grows to this many pixels, so that its number and caption can be read."""


def check_count(pictures: Sequence[object], *, expected: int | None = None) -> None:
    """Refuse zero images, more than 256, or a number other than the expected one."""
    count = len(pictures)
    checks.check_integer("pictures", count, 1, MAX_PICTURES, allowed=f"1 to {MAX_PICTURES} images")
    if expected is not None and count != expected:
        raise InvalidRequest(
            f"There are {count} images for {expected} cells.",
            parameter="pictures",
            value=count,
            allowed=f"{expected} images, None for an empty cell",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellShape:
    """The shape of all cells, and their greatest height."""

    aspect: float
    """Width divided by height."""
    highest: int
    """The greatest height, in pixels."""

    @classmethod
    def of(cls, pictures: Sequence[Picture | None]) -> Self:
        """Use the median of the images' shapes, within limits, and the height that the images need."""
        sizes = [picture.size for picture in pictures if picture is not None]
        aspect = min(_WIDEST, max(_NARROWEST, median(size.aspect for size in sizes) if sizes else 1.0))
        needed = max((max(size.height, size.width / aspect) for size in sizes), default=0)
        return cls(aspect=aspect, highest=max(_ENLARGED_TO, math.ceil(needed)))

    def within(self, width: float, height: float) -> Size:
        """Return the largest cell that fits into this width and height."""
        high = max(1, math.floor(min(height, width / self.aspect, self.highest)))
        return Size(max(1, min(math.floor(width), round(high * self.aspect))), high)


def draw_side(side: int, size_of: Callable[[int], tuple[int, int]]) -> int:
    """Return the longest side to draw at before reducing: larger than asked if letters and gaps need more."""
    while max(size_of(side)) > side:
        side *= 2
    return side


def thumbnails(pictures: Sequence[Picture | None], box: Size) -> "list[Image.Image | None]":
    """Decode the images one by one and reduce each to fit a cell; None for a missing or damaged one."""
    return [None if picture is None else _thumbnail(picture, box) for picture in pictures]


def draw_cell(
    sheet: "Image.Image",
    pen: "ImageDraw.ImageDraw",
    image: "Image.Image | None",
    *,
    at: tuple[int, int],
    box: Size,
) -> None:
    """Draw an image in the middle of its cell, or an empty cell."""
    left, top = at
    right, bottom = left + box.width - 1, top + box.height - 1
    if image is None:
        pen.rectangle((left, top, right, bottom), fill=_EMPTY, outline=_FAINT)
        pen.line((left, top, right, bottom), fill=_FAINT)
        pen.line((left, bottom, right, top), fill=_FAINT)
        return
    drawn = fit(image, box)
    if drawn.size != (box.width, box.height):
        pen.rectangle((left, top, right, bottom), fill=_EMPTY)
    corner = (left + (box.width - drawn.width) // 2, top + (box.height - drawn.height) // 2)
    sheet.paste(drawn, corner)


def _thumbnail(picture: Picture, box: Size) -> "Image.Image | None":
    try:
        return thumbnail(picture, box)
    except BadPicture:
        return None


_MOST_NUMBER: Final = 999_999
_CAPTION_LINES: Final = 2
_BADGE: Final = (16, 16, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the cells are, in pixels."""

    columns: int
    rows: int
    box: Size
    gap: int
    letters: int
    """The size of the captions' letters."""
    caption_height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the complete sheet."""
        return (
            self.columns * (self.box.width + self.gap) + self.gap,
            self.rows * (self.box.height + self.caption_height + self.gap) + self.gap,
        )

    def place(self, index: int) -> tuple[int, int]:
        """Return the upper left corner of a cell."""
        row, column = divmod(index, self.columns)
        return (
            self.gap + column * (self.box.width + self.gap),
            self.gap + row * (self.box.height + self.caption_height + self.gap),
        )


def _layout(columns: int, count: int, *, shape: CellShape, side: int, caption_lines: int) -> _Layout:
    """Lay out the cells in this many columns, as large as a sheet with this longest side allows."""
    rows = math.ceil(count / columns)
    gap = max(4, min(32, side // 128))
    letters = max(12, min(22, round(side / max(columns, rows) / 18)))
    caption_height = letters // 3 + caption_lines * line_height(letters) if caption_lines else 0
    width = (side - gap * (columns + 1)) / columns
    height = (side - gap * (rows + 1)) / rows - caption_height
    return _Layout(
        columns=columns,
        rows=rows,
        box=shape.within(width, height),
        gap=gap,
        letters=letters,
        caption_height=caption_height,
    )


class ContactSheet:
    """A sheet of images that are decoded once and drawn at any size up to the first."""

    def __init__(
        self,
        pictures: Sequence[Picture | None],
        *,
        captions: Sequence[str] | None,
        first_number: int,
        longest_side: int,
    ) -> None:
        check_count(pictures)
        self._first_number = checks.check_integer(
            "first_number", first_number, 0, _MOST_NUMBER, allowed=f"an integer from 0 to {_MOST_NUMBER}"
        )
        if captions is not None and len(captions) != len(pictures):
            raise InvalidRequest(
                f"There are {len(captions)} captions for {len(pictures)} images.",
                parameter="captions",
                value=len(captions),
                allowed=f"{len(pictures)} captions",
            )
        self._text = TextDrawing()
        self._captions = [self._text.drawable(caption) for caption in captions or ()]
        self._count = len(pictures)
        self._shape = CellShape.of(pictures)
        self._images = thumbnails(pictures, self._layout(longest_side).box)

    def draw(self, longest_side: int) -> "Image.Image":
        """Draw the sheet, at most this many pixels wide and high."""
        from PIL import Image, ImageDraw  # noqa: PLC0415 - starting must not wait for Pillow

        layout = self._layout(longest_side)
        sheet = Image.new("RGB", layout.size, PAPER)
        pen = ImageDraw.Draw(sheet)
        for index, image in enumerate(self._images):
            draw_cell(sheet, pen, image, at=layout.place(index), box=layout.box)
            self._draw_number(pen, self._first_number + index, layout.place(index), layout.box)
            if self._captions:
                self._draw_caption(pen, index, layout)
        return sheet if max(sheet.size) <= longest_side else fit(sheet, Size(longest_side, longest_side))

    def _layout(self, side: int) -> _Layout:
        return self._best_layout(draw_side(side, lambda within: self._best_layout(within).size))

    def _best_layout(self, side: int) -> _Layout:
        """Choose the layout with the largest images and as many caption lines as needed."""
        if not any(self._captions):
            return self._largest(side, caption_lines=0)
        layout = self._largest(side, caption_lines=1)
        widest = max(self._text.width(caption, layout.letters) for caption in self._captions)
        return layout if widest <= layout.box.width else self._largest(side, caption_lines=_CAPTION_LINES)

    def _largest(self, side: int, *, caption_lines: int) -> _Layout:
        layouts = [
            _layout(columns, self._count, shape=self._shape, side=side, caption_lines=caption_lines)
            for columns in range(1, self._count + 1)
        ]
        return max(
            layouts,
            key=lambda layout: (layout.box.height, -layout.columns * layout.rows, layout.columns),
        )

    def _draw_number(
        self, pen: "ImageDraw.ImageDraw", number: int, corner: tuple[int, int], box: Size
    ) -> None:
        size = max(12, min(32, min(box.width, box.height) // 10))
        text = str(number)
        width = max(self._text.width(text, size) + size * 3 // 4, size * 3 // 2)
        height = size * 3 // 2
        left, top = corner
        pen.rectangle((left, top, left + width, top + height), fill=_BADGE, outline=PAPER)
        pen.text(
            (left + width / 2, top + height / 2),
            text,
            fill="white",
            font=self._text.font(size),
            anchor="mm",
        )

    def _draw_caption(self, pen: "ImageDraw.ImageDraw", index: int, layout: _Layout) -> None:
        left, top = layout.place(index)
        lines = self._text.lines(
            self._captions[index], size=layout.letters, width=layout.box.width, most=_CAPTION_LINES
        )
        for number, line in enumerate(lines):
            y = top + layout.box.height + layout.letters // 3 + number * line_height(layout.letters)
            self._text.draw(pen, (left, y), line, size=layout.letters, fill=INK)
