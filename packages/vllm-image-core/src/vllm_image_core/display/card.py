"""Card: describe a value for a notebook, the prompt or `print`, in a few lines and with thumbnails."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from vllm_image_core.text import one_line

if TYPE_CHECKING:
    from vllm_image_core.display.thumbnails import Thumbnail

Cell: TypeAlias = "str | int | float | Thumbnail | None"

_TEXT_ROWS: Final = 3
_HTML_ROWS: Final = 12
_TEXT_CHARACTERS: Final = 100
_HTML_CHARACTERS: Final = 300
_CELL_CHARACTERS: Final = 48
_MINUTE: Final = 60
_EXACT_SECONDS: Final = 10


class Printer(Protocol):
    """The part of IPython's pretty printer that is used here."""

    def text(self, obj: str, /) -> None:
        """Write text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A value in a few lines.

    Attributes:
        title: What it is, in one line.
        facts: Names and values; those that are None are left out.
        notes: What else is worth knowing, one sentence each.
        columns: The names of a table's columns.
        rows: The table's rows; the first of them are shown.
        row_count: How many rows there are; by default, all of them are in `rows`.
        images: Images to show.
        side: The longest side of these images, in CSS pixels; by default, they are small.
    """

    title: str
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    notes: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    row_count: int | None = None
    images: "Sequence[Thumbnail]" = ()
    side: int | None = None

    def text(self) -> str:
        """Return the card as text, in about 3 to 8 lines."""
        width = max(map(len, self._facts), default=0)
        lines = [
            one_line(self.title, limit=_TEXT_CHARACTERS),
            *(
                f"  {name.ljust(width)}  {one_line(str(value), limit=_TEXT_CHARACTERS)}"
                for name, value in self._facts.items()
            ),
            *self._text_table(),
            *(f"  {one_line(note, limit=_HTML_CHARACTERS)}" for note in self.notes),
        ]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the card as HTML that suits light and dark notebooks, and needs no other file."""
        from vllm_image_core.display.thumbnails import SMALL  # noqa: PLC0415 - imports the drawing of previews

        side = self.side or SMALL
        parts = [
            f"<div><b>{_escape(self.title)}</b></div>",
            *(_image(image, side) for image in self.images),
            *(f'<div style="opacity:.8">{line}</div>' for line in self._html_facts()),
            *self._html_table(),
            *(f'<div style="opacity:.8">{_escape(note)}</div>' for note in self.notes),
        ]
        return f'<div style="line-height:1.5">{"".join(parts)}</div>'

    @property
    def _facts(self) -> dict[str, object]:
        return {name: value for name, value in self.facts.items() if value is not None}

    @property
    def _count(self) -> int:
        return len(self.rows) if self.row_count is None else self.row_count

    def _html_facts(self) -> Iterator[str]:
        if self._facts:
            yield " · ".join(f"{_escape(name)} {_escape(str(value))}" for name, value in self._facts.items())

    def _table(self, rows: Sequence[Sequence[Cell]], *, images: bool) -> Iterator[tuple[str, list[Cell]]]:
        """Yield the columns that have anything to show, each with its name."""
        for place, name in enumerate(self.columns):
            cells = [row[place] for row in rows]
            shown = [cell for cell in cells if cell is not None]
            if shown and (images or not any(map(_is_image, shown))):
                yield name, cells

    def _text_table(self) -> Iterator[str]:
        if not self.rows:
            return
        rows = self.rows[:_TEXT_ROWS]
        columns = [[name, *map(_cell, cells)] for name, cells in self._table(rows, images=False)]
        widths = [max(map(len, column)) for column in columns]
        for row in zip(*columns, strict=True):
            yield (
                "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            )
        if self._count > len(rows):
            yield f"  ... and {self._count - len(rows):,} more"

    def _html_table(self) -> Iterator[str]:
        if not self.rows:
            return
        rows = self.rows[:_HTML_ROWS]
        yield '<table style="border-collapse:collapse">'
        columns = [*self._table(rows, images=True)]
        yield f"<tr>{''.join(_html_cell('th', name) for name, _ in columns)}</tr>"
        for row in zip(*(cells for _, cells in columns), strict=True):
            yield f"<tr>{''.join(_html_cell('td', cell) for cell in row)}</tr>"
        yield "</table>"
        if self._count > len(rows):
            yield f'<div style="opacity:.8">... and {self._count - len(rows):,} more</div>'


class Displayed:
    """A value that shows itself as a card in notebooks, at IPython's prompt and in `print`."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # IPython prefers the repr of a dataclass to a method that the class only inherits.
        cls._repr_pretty_ = cls._repr_pretty_

    @abstractmethod
    def _card(self) -> Card:
        """Describe the value."""

    def __str__(self) -> str:
        return self._card().text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {one_line(self._card().title)}>"

    def _repr_html_(self) -> str:
        return self._card().html()

    def _repr_pretty_(self, printer: Printer, cycle: bool) -> None:  # noqa: ARG002, FBT001 - IPython's interface
        printer.text(self._card().text())


def time_text(seconds: float | None) -> str | None:
    """Write a time as "1.8 s", "3 min 20 s" or "2 h 5 min"; None stays None."""
    if seconds is None:
        return None
    if seconds < _EXACT_SECONDS:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, _MINUTE)
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def _escape(text: str) -> str:
    return escape(one_line(text, limit=_HTML_CHARACTERS))


def _cell(cell: Cell) -> str:
    return "" if cell is None else one_line(str(cell), limit=_CELL_CHARACTERS)


def _is_image(cell: Cell) -> bool:
    return not isinstance(cell, str | int | float | None)


def _html_cell(tag: str, cell: Cell) -> str:
    from vllm_image_core.display.thumbnails import SMALL, Thumbnail  # noqa: PLC0415 - as above

    inside = _image(cell, SMALL) if isinstance(cell, Thumbnail) else escape(_cell(cell))
    return f'<{tag} style="text-align:left;vertical-align:top;padding:2px 8px">{inside}</{tag}>'


def _image(image: "Thumbnail", side: int) -> str:
    uri = image.uri(side)
    alt = _escape(image.alt)
    if uri is None:
        return f"<i>{alt}: no longer there</i>"
    style = f"max-width:{side}px;max-height:{side}px;margin:2px;vertical-align:top"
    return f'<img src="{uri}" alt="{alt}" title="{alt}" style="{style}">'
