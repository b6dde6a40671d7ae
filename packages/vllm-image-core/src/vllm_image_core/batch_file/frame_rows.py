"""Read the rows of a data frame (pandas, Polars, PyArrow) or a Parquet file as requests."""

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Final, Protocol, TypeGuard

from vllm_image_core.batch_file.columns import COLUMNS, column_named, refusal_of_column
from vllm_image_core.batch_file.reader import Row, UnreadableFile
from vllm_image_core.frames import backend_of, narwhals

_INTEGER: Final = "integer"


class DataFrame(Protocol):
    """A data frame of pandas, Polars or PyArrow."""

    @property
    def columns(self) -> Any:  # noqa: ANN401 - each library has its own type
        """Return the columns, or their names."""


def is_frame(source: object) -> TypeGuard[DataFrame]:
    """Check whether a source of requests is a data frame, without importing any library of frames."""
    library = type(source).__module__.partition(".")[0]
    return library in {"pandas", "polars", "pyarrow", "narwhals"} and hasattr(source, "columns")


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file as `frame_rows` does; with the same errors."""
    module = narwhals()
    try:
        frame = module.read_parquet(str(path), backend=backend_of(None))
    except Exception as error:  # of the library that reads it
        raise UnreadableFile(f"it cannot be read as a Parquet file: {error}") from error
    return frame_rows(frame)


def frame_rows(frame: DataFrame) -> Iterator[Row]:
    """Yield the rows of a data frame, numbered from 0; empty cells are omitted.

    Raises:
        UnreadableFile: A column is not a parameter, two have the same meaning, or there is no prompt.
        MissingPackage: narwhals is not installed.
    """
    module = narwhals()
    found = module.from_native(frame, pass_through=False)
    if hasattr(found, "collect"):
        found = found.collect()
    names = {str(name): column_named(str(name)) for name in found.columns}
    _check_columns(names)
    return (_row(number, names, values) for number, values in enumerate(found.iter_rows(named=True)))


def _check_columns(names: Mapping[str, str]) -> None:
    for given, name in names.items():
        if name not in COLUMNS:
            raise UnreadableFile(refusal_of_column(given))
    if "prompt" not in names.values():
        raise UnreadableFile("it has no prompt column")
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise UnreadableFile(f"two of its columns mean {twice}")


def _row(number: int, names: Mapping[str, str], values: Mapping[str, object]) -> Row:
    given = {
        names[name]: plain_value(value, COLUMNS[names[name]])
        for name, value in values.items()
        if not is_missing(value)
    }
    if not isinstance(given.get("prompt"), str):
        return Row(number, {}, "It has no prompt.")
    return Row(number, given, columns={name: title for title, name in names.items()})


def is_missing(value: object) -> bool:
    """Check for a missing value, however the library writes it: None, NaN, NaT or NA."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, Real) and math.isnan(value)


def plain_value(value: object, kind: str) -> object:
    """Return a scalar of the library as Python's own; 7.0 is 7 in a column of integers with gaps.

    Args:
        value: A value of a cell.
        kind: The kind of the column's values, as in `COLUMNS`.
    """
    own = getattr(value, "item", None)
    plain: object = own() if callable(own) else value
    return int(plain) if kind == _INTEGER and isinstance(plain, float) and plain.is_integer() else plain
