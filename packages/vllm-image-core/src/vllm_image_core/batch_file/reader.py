"""Read requests from a text, CSV or JSON Lines file, one row at a time and with limits on size."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, BinaryIO, Final, Literal, cast, get_args

from vllm_image_core.batch_file.columns import COLUMNS, column_named, refusal_of_column
from vllm_image_core.batch_file.csv_records import CsvRecord, csv_records
from vllm_image_core.batch_file.json_values import BadJson, JsonValue, json_values, object_of
from vllm_image_core.batch_file.text_lines import NOT_UTF8, NotText, TextLine, TextLines
from vllm_image_core.text import brief, one_line

__all__ = ["FORMATS", "NOT_UTF8", "FileFormat", "Row", "UnreadableFile", "format_of", "rows"]

FileFormat = Literal["text", "csv", "jsonl"]
FORMATS: Final[tuple[str, ...]] = get_args(FileFormat)

_FAULTS: Final = {
    "integer": "is not an integer",
    "number": "is not a number",
    "boolean": "is neither true nor false",
    "object": "is not a JSON object",
}
_BOOLEANS: Final = {"true": True, "false": False}
_SEPARATORS: Final = (",", ";", "\t", "|")
"""Separators of a CSV file; in some locales, spreadsheets write semicolons and decimal commas."""

_UNNAMED: Final = ("", "unnamed:_0")
"""Names that pandas gives the index column when a table is written and read again."""

_MOST_JSON: Final = 64 * 2**20
"""Maximum number of characters of JSON that is not one object per line and must be read at once."""

_NOT_AN_OBJECT: Final = 'It is not a JSON object such as {"prompt": "a red fox"}.'


class UnreadableFile(Exception):
    """No row of the file can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the values of its request, or why it cannot be used.

    Attributes:
        line: Its line number, from 1.
        values: Fields of a prompt, unchecked; see `expansion.PromptSource`.
        refusal: Why the row has no values; None if it has.
        columns: The name of each field as the row has it, such as "steps" for ``num_inference_steps``.
    """

    line: int
    values: Mapping[str, object]
    refusal: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])

    def reword(self, message: str, parameter: str) -> str:
        """Return a message about a parameter with the name that the row gives it."""
        title = self.columns.get(parameter, parameter)
        return re.sub(rf"\b{re.escape(parameter)}\b", lambda _: title, message)


def format_of(name: str) -> FileFormat:
    """Infer the format from the extension; "text" if the extension says nothing."""
    match PurePath(name).suffix.lower():
        case ".csv" | ".tsv":
            return "csv"
        case ".jsonl" | ".ndjson" | ".json":
            return "jsonl"
        case _:
            return "text"


def rows(file: BinaryIO, kind: FileFormat) -> Iterator[Row]:
    """Yield the rows that are not blank, in order.

    The file is UTF-8 with or without a byte order mark, or UTF-16 with one. A line ends with LF, CRLF or CR.
    A row that cannot be used says why, and reading continues with the next one, even after a line of many
    megabytes.

    Raises:
        UnreadableFile: The file is not text, a CSV file has no readable header or an unknown column, or JSON
            over several lines is not valid.
    """
    readers = {"text": _texts, "csv": _cells, "jsonl": _objects}
    try:
        yield from readers[kind](TextLines(file))
    except NotText as error:
        raise UnreadableFile(str(error)) from error


def _texts(lines: TextLines) -> Iterator[Row]:
    if lines.beginning.partition("\n")[0].rstrip() in {"[", "{", "[{"}:
        raise UnreadableFile("it is JSON, not one prompt per line; read it as jsonl")
    for line in lines:
        if line.refusal:
            yield Row(line.number, {}, line.refusal)
        elif prompt := line.text.strip():
            yield Row(line.number, {"prompt": prompt}, _refusal_of_prompt(prompt))


def _refusal_of_prompt(prompt: str) -> str | None:
    """Refuse a line of JSON as a prompt; other text in braces is accepted."""
    if not prompt.startswith("{"):
        return None
    try:
        json.loads(prompt)
    except (ValueError, RecursionError):
        return None
    return "It is JSON, not a prompt; read it as jsonl."


def _objects(lines: TextLines) -> Iterator[Row]:
    first = lines.beginning.partition("\n")[0].rstrip()
    # A line with such an end is not an object but part of JSON that spans several lines.
    if first.startswith("[") or first.endswith(("{", "[", ",")):
        yield from map(_object, _all_values(lines))
        return
    for line in lines:
        if line.refusal:
            yield Row(line.number, {}, line.refusal)
        elif line.text.strip():
            yield _line_of_json(line)


def _all_values(lines: TextLines) -> Sequence[JsonValue]:
    """Return all values of a file, or none if one is invalid: the next one could start anywhere."""
    text = lines.read(_MOST_JSON)
    if text is None:
        raise UnreadableFile(
            f"it has more than {_MOST_JSON // 2**20} MiB of JSON that is not one object per line; "
            "write it as JSON Lines"
        )
    try:
        return list(json_values(text))
    except BadJson as error:
        raise UnreadableFile(f"it is not valid JSON: {error}; no row was read") from error


def _line_of_json(line: TextLine) -> Row:
    try:
        return _object(JsonValue(line.number, json.loads(line.text, object_pairs_hook=object_of)))
    except (ValueError, RecursionError) as error:
        return Row(line.number, {}, f"It is not valid JSON: {one_line(str(error))}.")


def _object(found: JsonValue) -> Row:
    if not isinstance(found.value, dict):
        return Row(found.line, {}, _NOT_AN_OBJECT)
    given = cast("dict[str, object]", found.value)  # pyright: ignore[reportUnknownMemberType] - JSON has text as names
    values: dict[str, object] = {}
    columns: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        meant = column_named(name)
        if meant in values:
            return Row(found.line, {}, f"It sets {meant} twice, under two names.")
        values[meant] = value
        columns[meant] = name
    return _check(Row(found.line, values, columns=columns))


def _cells(lines: TextLines) -> Iterator[Row]:
    rest = iter(lines)
    top = _top(rest)
    separator = _declared_separator(top)
    if separator is not None:  # a line before the header, as Excel reads and writes it
        top = _top(rest)
    separator = separator or max(_SEPARATORS, key=top.text.count)
    titles = _cells_of(top, separator)
    header = _header(titles)
    for record in csv_records(rest, separator, columns=len(header), is_row=partial(_is_row, header)):
        if record.refusal:
            yield Row(record.line, {}, record.refusal)
        elif any(cell.strip() for cell in record.cells):
            yield _record(record, header, titles, decimal_comma=separator != ",")


def _top(rest: Iterator[TextLine]) -> TextLine:
    """Return the first line that is not blank; without it, no row can be understood."""
    for line in rest:
        if line.refusal:
            raise UnreadableFile(f"its line {line.number} is not a header; {line.refusal.removesuffix('.')}")
        if line.text.strip():
            return line
    raise UnreadableFile("it has no header; its first line names the columns, one of them prompt")


def _declared_separator(top: TextLine) -> str | None:
    """Return the separator from a line such as "sep=;"; None for any other line."""
    text = top.text.rstrip("\n").strip(' "')
    if not text.lower().startswith("sep="):
        return None
    declared = text[4:].strip(" ,;") or text[4:5]
    separator = "\t" if declared == "\\t" else declared
    if separator not in _SEPARATORS:
        raise UnreadableFile(
            f"its line {top.number} sets the separator to {brief(declared)}; use , ; | or a tab"
        )
    return separator


def _cells_of(top: TextLine, separator: str) -> Sequence[str]:
    record = next(csv_records(iter([top]), separator, columns=1, is_row=bool))
    if record.refusal:
        raise UnreadableFile(f"its line {top.number} is not a header; {record.refusal.removesuffix('.')}")
    return record.cells


def _header(cells: Sequence[str]) -> Sequence[str]:
    """Return the column names; "" for a column without one."""
    names = [column_named(cell) for cell in cells]
    if names[0] in _UNNAMED:
        names[0] = ""
    unknown = [name for name in names if name and name not in COLUMNS]
    if unknown:
        raise UnreadableFile(
            f"it has an unknown column {brief(unknown[0])}; the first line must name the columns. "
            f"{refusal_of_column(unknown[0])}"
        )
    if "prompt" not in names:
        raise UnreadableFile("it has no prompt column")
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise UnreadableFile("it has two columns with the same name")
    return names


def _record(record: CsvRecord, header: Sequence[str], titles: Sequence[str], *, decimal_comma: bool) -> Row:
    number, cells = record.line, record.cells
    if any(cell.strip() for cell in cells[len(header) :]):
        return Row(number, {}, f"It has {len(cells)} cells, but there are {len(header)} columns.")
    values: dict[str, object] = {}
    columns: dict[str, str] = {}
    for place, (name, title, cell) in enumerate(zip(header, titles, cells, strict=False)):
        if not cell.strip():
            continue
        if not name:
            if place:
                return Row(number, {}, f"Cell {place + 1} is in a column without a name.")
            continue  # the row number
        columns[name] = title.strip()
        value = _value(name, cell.strip(), decimal_comma=decimal_comma)
        if value is None:
            return Row(number, {}, f"{columns[name]} {brief(cell)} {_FAULTS[COLUMNS[name]]}.")
        values[name] = value
    if [cell.strip().lower() for cell in cells] == list(header):
        return Row(number, {}, "It repeats the header.")
    return _check(Row(number, values, columns=columns))


def _is_row(header: Sequence[str], cells: Sequence[str]) -> bool:
    """Check whether cells are certainly a row: one per column, with numbers in the columns for numbers.

    If there are no such columns, no cell but the first may begin with a space: in prose, a space follows each
    comma.
    """
    if len(cells) != len(header) or len(header) == 1:
        return False
    numbers = [
        (name, cell.strip())
        for name, cell in zip(header, cells, strict=True)
        if cell.strip() and COLUMNS.get(name) in {"integer", "number"}
    ]
    if any(_value(name, cell, decimal_comma=True) is None for name, cell in numbers):
        return False
    return bool(numbers) or not any(cell.startswith(" ") for cell in cells[1:])


def _value(name: str, cell: str, *, decimal_comma: bool) -> Any:  # noqa: ANN401 - by column
    """Convert a cell to its column's type; None if it should be a number and is not."""
    try:
        match COLUMNS[name]:
            case "integer":
                return int(cell.removesuffix(".0"))  # pandas writes integers like this if the column has gaps
            case "number":
                return float(cell.replace(",", ".") if decimal_comma else cell)
            case "boolean":
                return _BOOLEANS.get(cell.lower())
            case "object":
                return json.loads(cell)
            case _:
                return cell
    except ValueError:
        return None


def _check(row: Row) -> Row:
    unknown = [name for name in row.values if name not in COLUMNS]
    if unknown:
        return Row(row.line, {}, f"{refusal_of_column(unknown[0])}.")
    if "prompt" not in row.values:
        return Row(row.line, {}, "It has no prompt.")
    return row
