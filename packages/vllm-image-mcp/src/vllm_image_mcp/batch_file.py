"""A file of requests: a prompt a line, CSV or JSON Lines; read one row at a time, within bounds."""

import csv
import io
import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import BinaryIO, Final, Literal, cast, get_args

from vllm_image_core.request import ImageRequest
from vllm_image_core.text import one_line, shown

__all__ = ["FORMATS", "NOT_UTF8", "FileFormat", "Row", "UnreadableFile", "format_of", "rows"]

FileFormat = Literal["text", "csv", "jsonl"]
FORMATS: Final[tuple[str, ...]] = get_args(FileFormat)

NOT_UTF8: Final = "It is no text in UTF-8."

_LONGEST_LINE: Final = 1_048_576
"""Characters; a prompt has at most 20,000. Of a longer line nothing is kept."""

_LONGEST_PROMPT: Final = 20_000

_ALIASES: Final = {"steps": "num_inference_steps", "guidance": "guidance_scale", "cfg": "guidance_scale"}
_OURS: Final = frozenset({"seed_drawn"})
_NAMES: Final = tuple(field.name for field in fields(ImageRequest) if field.name not in _OURS)
_INTEGERS: Final = frozenset({"width", "height", "num_inference_steps", "seed"})
_NUMBERS: Final = frozenset({"guidance_scale"})
_SEPARATORS: Final = (",", ";", "\t")
"""Of a CSV file; spreadsheets write semicolons, and decimal commas, where those are the custom."""


class UnreadableFile(Exception):
    """A file of which no row can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what it asks for, or why it cannot be used.

    Attributes:
        line: The number of its line, from 1.
        values: The fields of an `ImageRequest`, unchecked.
        refusal: Why there are none.
    """

    line: int
    values: Mapping[str, object]
    refusal: str | None = None


def format_of(name: str) -> FileFormat:
    """The format that a file's name tells; a prompt a line where it tells none."""
    match PurePath(name).suffix.lower():
        case ".csv" | ".tsv":
            return "csv"
        case ".jsonl" | ".ndjson" | ".json":
            return "jsonl"
        case _:
            return "text"


def rows(file: BinaryIO, kind: FileFormat) -> Iterator[Row]:
    """The rows that are not blank, in their order.

    UTF-8, with or without a byte order mark; lines end with LF, CRLF or CR. A row that cannot be used says
    why, and the next one is read: also after a line of many megabytes.

    Raises:
        UnreadableFile: A CSV file has no header that can be read, or a column that no request has.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    lines = _Lines(text)
    readers = {"text": _texts, "csv": _cells, "jsonl": _objects}
    try:
        yield from readers[kind](lines)
    finally:
        text.detach()


class _Lines:
    """The lines of a text, bounded.

    Attributes:
        number: That of the last line, from 1.
        refused: Rows for the lines that could not be handed out.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.number = 0
        self.refused: list[Row] = []

    def __iter__(self) -> Generator[str]:
        while line := self._text.readline(_LONGEST_LINE):
            self.number += 1
            if len(line) >= _LONGEST_LINE and not line.endswith("\n"):
                self.refused.append(Row(self.number, {}, _too_long(self._skipped(len(line)))))
            elif not _is_utf8(line):
                self.refused.append(Row(self.number, {}, NOT_UTF8))
            else:
                yield line
                continue
            yield ""

    def _skipped(self, length: int) -> int:
        """Go to the end of a line without keeping it, and return its length."""
        while (more := self._text.readline(_LONGEST_LINE)) and not more.endswith("\n"):
            length += len(more)
        return length + len(more.rstrip("\n"))

    def take_refused(self) -> list[Row]:
        """The rows of lines that could not be handed out since the last call."""
        taken, self.refused = self.refused, []
        return taken


def _texts(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        yield from lines.take_refused()
        if prompt := line.strip():
            yield Row(lines.number, {"prompt": prompt})


def _objects(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        yield from lines.take_refused()
        if line.strip():
            yield _object(lines.number, line)


def _object(number: int, line: str) -> Row:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"It is no JSON: {one_line(str(error))}.")
    if not isinstance(found, dict):
        return Row(number, {}, 'It is no JSON object, such as {"prompt": "a red fox"}.')
    given = cast("dict[str, object]", found)
    values = {_name(name): value for name, value in given.items() if value is not None}
    return _checked(number, values)


def _cells(lines: _Lines) -> Iterator[Row]:
    text = iter(lines)
    top = _top(lines, text)
    separator = max(_SEPARATORS, key=top.count)
    header = _header(next(csv.reader([top], delimiter=separator)))
    reader = csv.reader(text, delimiter=separator)
    while True:
        first = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            yield from lines.take_refused()
            break
        except csv.Error as error:
            yield Row(first, {}, f"It is no CSV: {error}.")
            continue
        yield from lines.take_refused()
        if any(cell.strip() for cell in cells):
            yield _record(first, header, cells)


def _top(lines: _Lines, text: Iterator[str]) -> str:
    """The first line that is not blank; where that cannot be read, no row means anything."""
    for line in text:
        for refused in lines.take_refused():
            raise UnreadableFile(f"its line {refused.line} is no header; {refused.refusal}")
        if line.strip():
            return line
    raise UnreadableFile("it has no header; its first line names the columns, one of them prompt")


def _header(cells: list[str]) -> list[str]:
    names = [_name(cell.strip().lower()) for cell in cells]
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        raise UnreadableFile(f"it has a column {shown(unknown[0])}; a request has {', '.join(_NAMES)}")
    if "prompt" not in names:
        raise UnreadableFile("it has no column prompt")
    if len(set(names)) < len(names):
        raise UnreadableFile("it has two columns of one name")
    return names


def _record(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        return Row(number, {}, f"It has {len(cells)} cells for {len(header)} columns.")
    values: dict[str, object] = {}
    for name, cell in zip(header, cells, strict=False):
        if not cell.strip():
            continue
        value = _value(name, cell.strip())
        if value is None:
            kind = "whole number" if name in _INTEGERS else "number"
            return Row(number, {}, f"{name} {shown(cell)} is no {kind}.")
        values[name] = value
    return _checked(number, values)


def _value(name: str, cell: str) -> str | int | float | None:
    """A cell as its column has it; None for one that is not a number where it has to be."""
    try:
        if name in _INTEGERS:
            return int(cell.removesuffix(".0"))  # tables write whole numbers so where a column has gaps
        return float(cell.replace(",", ".")) if name in _NUMBERS else cell
    except ValueError:
        return None


def _checked(number: int, values: Mapping[str, object]) -> Row:
    unknown = [name for name in values if name not in _NAMES]
    if unknown:
        return Row(number, {}, f"A request has no {shown(unknown[0])}; it has {', '.join(_NAMES)}.")
    if "prompt" not in values:
        return Row(number, {}, "It has no prompt.")
    return Row(number, values)


def _name(name: str) -> str:
    return _ALIASES.get(name, name)


def _too_long(length: int) -> str:
    return f"The prompt has {length} characters; at most {_LONGEST_PROMPT} are allowed."


def _is_utf8(line: str) -> bool:
    """Whether all bytes were; those that were not stand as halves of surrogate pairs."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
