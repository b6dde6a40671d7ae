"""Read the records of a CSV file strictly: refuse an invalid record without losing the ones after it.

Some programs write a quote that is never closed. A lenient reader would put all rows up to the next quote
into one cell. So a record whose quotes do not match is refused, and reading continues with the line after its
first. Lines that may belong to the broken record are refused, too, up to the first
that is certainly a record.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vllm_image_core.batch_file.text_lines import TextLine

_LONGEST_RECORD: Final = 1_048_576
"""Maximum length in characters; a cell has at most 131,072."""

_RULE: Final = (
    "Put a cell with quotes, separators or line breaks in double quotes, and double each quote in it."
)
_UNCLOSED: Final = f"This row opens a quoted cell and does not close it. {_RULE}"
_SWALLOWS: Final = (
    "A quoted cell of this row contains lines that look like rows; its opening quote is probably not "
    f"closed. {_RULE} Use JSON Lines for prompts that contain such lines."
)
_STRAY: Final = f"A cell that does not begin with a quote has an odd number of quotes. {_RULE}"
_TEXT_BEHIND: Final = f"Text follows the closing quote of a cell. {_RULE}"
_MAYBE_TEXT: Final = "It may be part of the previous row, whose quotes do not match. Correct that row first."


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One record, or why it cannot be used.

    Attributes:
        line: The number of its first line, from 1.
        cells: The text of its cells, without quotes.
        refusal: Why there are no cells; None if there are.
    """

    line: int
    cells: Sequence[str]
    refusal: str | None = None


def csv_records(
    lines: Iterator[TextLine], separator: str, *, columns: int, is_row: Callable[[Sequence[str]], bool]
) -> Iterator[CsvRecord]:
    """Yield the records of the lines after the header, without blank ones.

    A function says whether cells are certainly a row, not a line of text.
    """
    return iter(_Reader(lines, separator, columns, is_row))


class _Reader:
    def __init__(
        self, lines: Iterator[TextLine], separator: str, columns: int, is_row: Callable[[Sequence[str]], bool]
    ) -> None:
        self._lines = lines
        self._again: deque[TextLine] = deque()
        self._separator = separator
        self._columns = columns
        self._is_row = is_row
        self._in_doubt = False

    def __iter__(self) -> Iterator[CsvRecord]:
        while (first := self._next()) is not None:
            if not first.text:
                yield CsvRecord(first.number, (), first.refusal)
            elif first.text.strip():
                yield self._record(first)

    def _next(self) -> TextLine | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _record(self, first: TextLine) -> CsvRecord:
        taken = [first]
        try:
            cells = next(self._parse(self._feed(taken), strict=True))
        except csv.Error as error:
            return self._refuse(taken, _meaning(error))
        if refused := next((line.refusal for line in taken if line.refusal), None):
            return CsvRecord(first.number, (), refused)
        if why := self._doubts(taken, cells):
            return self._refuse(taken, why)
        is_sure = self._is_row(cells) or (self._columns == 1 and first.text.startswith('"'))
        if self._in_doubt and not is_sure:
            return CsvRecord(first.number, (), _MAYBE_TEXT)
        self._in_doubt = False
        return CsvRecord(first.number, cells)

    def _feed(self, taken: list[TextLine]) -> Iterator[str]:
        """Yield the text of the first line, and of as many more as the record needs."""
        length = len(taken[0].text)
        yield taken[0].text
        while length < _LONGEST_RECORD and (line := self._next()) is not None:
            taken.append(line)
            length += len(line.text)
            yield line.text or "\n"

    def _refuse(self, taken: Sequence[TextLine], why: str) -> CsvRecord:
        """Refuse a record, and put the lines after its first back to be read again."""
        self._again.extendleft(reversed(taken[1:]))
        # A line whose quotes match is complete, whatever else is wrong with it.
        self._in_doubt |= taken[0].text.count('"') % 2 == 1
        return CsvRecord(taken[0].number, (), taken[0].refusal or why)

    def _doubts(self, taken: Sequence[TextLine], cells: Sequence[str]) -> str | None:
        """Return why a valid record is probably not what its author meant; None if it seems fine."""
        if len(taken) > 1 and self._swallows([line.text for line in taken]):
            return _SWALLOWS
        text = "".join(line.text for line in taken)
        return _STRAY if any(_is_stray(cell, text) for cell in cells) else None

    def _swallows(self, lines: Sequence[str]) -> bool:
        """Check whether one of several lines of a record looks like a row."""
        first, *middle, last = lines
        opened = len(next(self._parse([first], strict=False))) - 1
        return (
            (opened < self._columns - 1 and self._looks_like_row(first))
            or (opened > 0 and self._looks_like_row(last))
            or any(self._looks_like_row(line) for line in middle if '"' not in line)
        )

    def _looks_like_row(self, line: str) -> bool:
        return self._is_row(line.replace('"', "").rstrip("\n").split(self._separator))

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
    """Check whether an unquoted cell contains an odd number of quotes."""
    if cell.count('"') % 2 == 0:
        return False
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' not in text
