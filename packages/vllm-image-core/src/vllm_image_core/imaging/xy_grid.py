"""Draw an X/Y/Z grid: images in a table whose columns, rows and blocks of rows are labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.contact_sheet import (
    INK,
    PAPER,
    CellShape,
    check_count,
    draw_cell,
    draw_side,
    thumbnails,
)
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.text_drawing import TextDrawing, line_height
from vllm_image_core.imaging.thumbnail import fit

if TYPE_CHECKING:
    from PIL import Image, ImageDraw


_LABEL_LINES: Final = 3
_NAME_INK: Final = "#5a5a66"
_WIDEST_LABELS: Final = 0.22
"""The share of the grid's longest side that the row labels may take."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What differs from column to column, or from row to row: `Axis("seed", [1, 2])`.

    Attributes:
        name: The axis's name, such as "guidance_scale"; "" to show none.
        values: A label for each column or row, a string or a number. A label in a script that the font does
            not have is replaced by its number, such as "x2".
    """

    name: str
    values: Sequence[str | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the cells and labels are, in pixels."""

    box: Size
    gap: int
    letters: int
    """The size of the labels' letters."""
    left: int
    """The width of the rows' labels."""
    top: int
    """The height of the columns' labels."""
    heading: int
    """The height of the heading of a block of rows; 0 if there is only one block."""
    block: int
    """How many rows a block has."""

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of a cell."""
        headings = self.heading * (row // self.block + 1)
        return (
            self.left + column * (self.box.width + self.gap),
            self.top + headings + row * (self.box.height + self.gap),
        )


class XYGrid:
    """A grid of images that are decoded once and drawn at any size up to the first."""

    def __init__(
        self,
        pictures: Sequence[Picture | None],
        *,
        x: Axis,
        y: Axis,
        z: Axis | None = None,
        longest_side: int,
    ) -> None:
        blocks = z or Axis("", [""])
        for parameter, axis in (("x", x), ("y", y), ("z", blocks)):
            if not axis.values:
                message = f"The axis {parameter} has no values."
                raise InvalidRequest(message, parameter=parameter, value=0, allowed="one or more values")
        check_count(pictures, expected=len(x.values) * len(y.values) * len(blocks.values))
        self._text = TextDrawing()
        self._columns, self._block = len(x.values), len(y.values)
        self._rows = self._block * len(blocks.values)
        self._x_name, self._y_name = map(self._text.drawable, (x.name, y.name))
        self._x_labels = self._labels(x, "x")
        self._y_labels = self._labels(y, "y") * len(blocks.values)
        name = self._text.drawable(blocks.name)
        self._headings = [f"{name} {each}".strip() for each in self._labels(blocks, "z")] if z else []
        self._shape = CellShape.of(pictures)
        self._images = thumbnails(pictures, self._layout(longest_side).box)

    def draw(self, longest_side: int) -> "Image.Image":
        """Draw the grid, at most this many pixels wide and high."""
        from PIL import Image, ImageDraw  # noqa: PLC0415 - starting must not wait for Pillow

        layout = self._layout(longest_side)
        grid = Image.new("RGB", self._size(layout), PAPER)
        pen = ImageDraw.Draw(grid)
        for index, image in enumerate(self._images):
            row, column = divmod(index, self._columns)
            draw_cell(grid, pen, image, at=layout.place(row, column), box=layout.box)
        self._draw_columns(pen, layout)
        self._draw_headings(pen, layout)
        self._draw_rows(pen, layout)
        return grid if max(grid.size) <= longest_side else fit(grid, Size(longest_side, longest_side))

    def _labels(self, axis: Axis, letter: str) -> list[str]:
        written = (self._text.drawable(str(value)) for value in axis.values)
        return [label or f"{letter}{number}" for number, label in enumerate(written, start=1)]

    def _layout(self, side: int) -> _Layout:
        return self._best_layout(draw_side(side, lambda within: self._size(self._best_layout(within))))

    def _size(self, layout: _Layout) -> tuple[int, int]:
        right, below = layout.place(self._rows - 1, self._columns)
        return right, below + layout.box.height + layout.gap

    def _best_layout(self, side: int) -> _Layout:
        """Choose the layout with as many label lines above the columns as the labels need."""
        layout = self._with_lines(side, 1)
        for lines in range(2, _LABEL_LINES + 1):
            if all(
                len(self._lines(label, layout.letters, layout.box.width)) < lines for label in self._x_labels
            ):
                break
            layout = self._with_lines(side, lines)
        return layout

    def _with_lines(self, side: int, lines: int) -> _Layout:
        gap = max(4, min(32, side // 160))
        letters = max(12, min(24, round(side / max(self._columns, self._rows) / 14)))
        left = self._label_width(side, letters, gap)
        top = gap + (lines + bool(self._x_name)) * line_height(letters) + gap
        heading = line_height(letters) + gap if self._headings else 0
        high = side - top - heading * len(self._headings)
        box = self._shape.within((side - left) / self._columns - gap, high / self._rows - gap)
        return _Layout(
            box=box, gap=gap, letters=letters, left=left, top=top, heading=heading, block=self._block
        )

    def _label_width(self, side: int, letters: int, gap: int) -> int:
        """Return the width of the widest row label or the axis's name, up to a limit where they wrap."""
        texts = [*self._y_labels, self._y_name]
        widest = max(self._text.width(text, letters) for text in texts)
        return min(widest, round(side * _WIDEST_LABELS)) + 2 * gap

    def _lines(self, label: str, letters: int, width: int) -> list[str]:
        return self._text.lines(label, size=letters, width=width, most=_LABEL_LINES)

    def _draw_columns(self, pen: "ImageDraw.ImageDraw", layout: _Layout) -> None:
        size = layout.letters
        if self._x_name:
            right, _ = layout.place(0, self._columns)
            middle = (layout.left + right - layout.gap) / 2
            name = self._text.lines(self._x_name, size=layout.letters, width=right - layout.left, most=1)
            self._text.draw(pen, (middle, layout.gap), name[0], size=size, fill=_NAME_INK, align="middle")
        for column, label in enumerate(self._x_labels):
            left, top = layout.place(0, column)
            top -= layout.heading
            lines = self._lines(label, layout.letters, layout.box.width)
            for above, line in enumerate(reversed(lines), start=1):
                y = top - layout.gap // 2 - above * line_height(layout.letters)
                middle = left + layout.box.width / 2
                self._text.draw(pen, (middle, y), line, size=size, fill=INK, align="middle")

    def _draw_headings(self, pen: "ImageDraw.ImageDraw", layout: _Layout) -> None:
        font = self._text.font(layout.letters)
        for number, heading in enumerate(self._headings):
            left, top = layout.place(number * layout.block, 0)
            right, _ = layout.place(0, self._columns)
            line = self._text.lines(heading, size=layout.letters, width=right - left, most=1)[0]
            pen.text((left, top - layout.heading), line, fill=INK, font=font)

    def _draw_rows(self, pen: "ImageDraw.ImageDraw", layout: _Layout) -> None:
        width = layout.left - 2 * layout.gap
        if self._y_name:
            name = self._text.lines(self._y_name, size=layout.letters, width=width, most=1)
            y = layout.top - layout.gap // 2 - line_height(layout.letters)
            self._text.draw(pen, (layout.gap, y), name[0], size=layout.letters, fill=_NAME_INK)
        for row, label in enumerate(self._y_labels):
            _, top = layout.place(row, 0)
            lines = self._lines(label, layout.letters, width)
            y = top + (layout.box.height - len(lines) * line_height(layout.letters)) / 2
            for number, line in enumerate(lines):
                place = (layout.left - layout.gap, y + number * line_height(layout.letters))
                self._text.draw(pen, place, line, size=layout.letters, fill=INK, align="right")
