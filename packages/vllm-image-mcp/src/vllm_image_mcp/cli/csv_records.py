"""The records of a CSV file, strictly: one that is not valid is refused, and takes no other with it.

Some programs write a quote that is never closed. Read leniently, all rows up to the next quote become one
cell. So a record is refused if its quotes do not match, and reading goes on with the line after its first;
lines that may be the rest of its text are refused as well, up to the first that is a record beyond doubt.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vllm_image_mcp.cli.text_lines import Line

__all__ = ["Record", "csv_records"]

_LONGEST_RECORD: Final = 1_048_576
"""Characters; a cell has at most 131,072."""

_RULE: Final = (
    "Put a cell with quotes, separators or line breaks in double quotes, and write each quote in it twice."
)
_UNCLOSED: Final = f"A quote that opens a cell of this row is not closed. {_RULE}"
_SWALLOWS: Final = (
    "A quoted cell of this row has lines that look like rows of their own; the quote that opens it is "
    f"probably not closed. {_RULE} Use JSON Lines for prompts with such lines."
)
_STRAY: Final = f"A cell that does not begin with a quote has an odd number of them. {_RULE}"
_TEXT_BEHIND: Final = f"Text follows a quote that closes a cell. {_RULE}"
_MAYBE_TEXT: Final = "It may be part of the row before it, whose quotes do not match. Correct that row first."


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or why it cannot be used.

    Attributes:
        line: The number of its first line, from 1.
        cells: As they are written, without their quotes.
        refusal: Why there are none.
    """

    line: int
    cells: Sequence[str]
    refusal: str | None = None


def csv_records(
    lines: Iterator[Line], separator: str, *, columns: int, is_row: Callable[[Sequence[str]], bool]
) -> Iterator[Record]:
    """The records of some lines; blank ones are left out.

    Args:
        lines: Those behind the header.
        separator: What stands between two cells.
        columns: How many cells a record has.
        is_row: Whether some cells are, beyond doubt, a row and not a line of somebody's text.
    """
    return iter(_Reader(lines, separator, columns, is_row))


class _Reader:
    def __init__(
        self, lines: Iterator[Line], separator: str, columns: int, is_row: Callable[[Sequence[str]], bool]
    ) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._separator = separator
        self._columns = columns
        self._is_row = is_row
        self._in_doubt = False

    def __iter__(self) -> Iterator[Record]:
        while (first := self._next()) is not None:
            if not first.text:
                yield Record(first.number, (), first.refusal)
            elif first.text.strip():
                yield self._record(first)

    def _next(self) -> Line | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _record(self, first: Line) -> Record:
        taken = [first]
        try:
            cells = next(self._parse(self._feed(taken), strict=True))
        except csv.Error as error:
            return self._refuse(taken, _meaning(error))
        if refused := next((line.refusal for line in taken if line.refusal), None):
            return Record(first.number, (), refused)
        if why := self._doubts(taken, cells):
            return self._refuse(taken, why)
        if self._in_doubt and not self._is_sure(taken, cells):
            return Record(first.number, (), _MAYBE_TEXT)
        self._in_doubt = False
        return Record(first.number, cells)

    def _feed(self, taken: list[Line]) -> Iterator[str]:
        """The text of the first line, and of as many more as the record has."""
        length = len(taken[0].text)
        yield taken[0].text
        while length < _LONGEST_RECORD and (line := self._next()) is not None:
            taken.append(line)
            length += len(line.text)
            yield line.text or "\n"

    def _refuse(self, taken: Sequence[Line], why: str) -> Record:
        """Refuse a record, and read again what it has taken with it."""
        self._again.extendleft(reversed(taken[1:]))
        # A line whose quotes match is complete, whatever is wrong with it.
        self._in_doubt |= taken[0].text.count('"') % 2 == 1
        return Record(taken[0].number, (), taken[0].refusal or why)

    def _doubts(self, taken: Sequence[Line], cells: Sequence[str]) -> str | None:
        """Why a record that is valid is probably not what was meant."""
        if len(taken) > 1 and self._swallows([line.text for line in taken]):
            return _SWALLOWS
        text = "".join(line.text for line in taken)
        return _STRAY if any(_is_stray(cell, text) for cell in cells) else None

    def _swallows(self, lines: Sequence[str]) -> bool:
        """Whether one of several lines of a record looks like a row."""
        first, *middle, last = lines
        opened = len(next(self._parse([first], strict=False))) - 1
        return (
            (opened < self._columns - 1 and self._looks_like_row(first))
            or (opened > 0 and self._looks_like_row(last))
            or any(self._looks_like_row(line) for line in middle if '"' not in line)
        )

    def _looks_like_row(self, line: str) -> bool:
        return self._is_row(line.replace('"', "").rstrip("\n").split(self._separator))

    def _is_sure(self, taken: Sequence[Line], cells: Sequence[str]) -> bool:
        return self._is_row(cells) or (self._columns == 1 and taken[0].text.startswith('"'))

    def _parse(self, lines: Iterable[str], *, strict: bool) -> Iterator[Sequence[str]]:
        return csv.reader(lines, delimiter=self._separator, strict=strict, skipinitialspace=True)


def _meaning(error: csv.Error) -> str:
    reason = str(error)
    if "unexpected end" in reason:
        return _UNCLOSED
    if "expected after" in reason:
        return _TEXT_BEHIND
    return f"It is not valid CSV: {reason}."


def _is_stray(cell: str, text: str) -> bool:
    """Whether a cell has quotes, but none around it; in the text of a quoted one each is doubled."""
    if cell.count('"') % 2 == 0:
        return False
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' not in text
