"""Source: read the rows of a dataset's requests from files, frames, prompts, Ray or Daft, as Arrow tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, cast

from vllm_image_core.batch_file.frame_rows import DataFrame, is_frame
from vllm_image_core.datasets.image_row import pyarrow
from vllm_image_core.datasets.row_request import check_columns
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.frames import narwhals
from vllm_image_core.text import brief, marked_encoding, one_line

FileFormat = Literal["parquet", "csv", "json"]

Source = str | Path | DataFrame | Sequence[str] | Iterable[Mapping[str, object]]
"""The path of a file or of a folder of Parquet files; a data frame of pandas, Polars or PyArrow; a Dataset of
Ray or a DataFrame of Daft; prompts; or rows as mappings."""

_FORMATS: Final[Mapping[str, FileFormat]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
}
_ALLOWED: Final = (
    "a .parquet, .csv or .jsonl file, a folder of .parquet files, a data frame, a Ray Dataset, a Daft"
    " DataFrame, prompts, or rows"
)
_ROWS: Final = 1_000
"""Rows that are read, and handed to an engine, together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """Rows to generate images for; one of the attributes is set.

    Attributes:
        path: A file, or a folder of them.
        format: The files' format.
        table: The rows in memory, as a pyarrow table.
        engine: The rows as a Dataset of Ray or a DataFrame of Daft.
        total: The number of rows; None if it is not known without reading all of them.
    """

    path: str | None = None
    format: FileFormat = "parquet"
    table: Any = None
    engine: Any = None
    total: int | None = None

    @property
    def is_file(self) -> bool:
        """Whether `path` is one file, not a folder."""
        return self.path is not None and Path(self.path).suffix.lower() in _FORMATS

    @property
    def library(self) -> str:
        """The library of `engine`: "ray", "daft" or ""."""
        return type(self.engine).__module__.partition(".")[0] if self.engine is not None else ""

    def tables(self) -> Iterator[Any]:
        """Yield the rows as pyarrow tables of at most 1,000 rows, or of the engine's own size."""
        if self.library == "ray":
            yield from self.engine.iter_batches(batch_format="pyarrow", batch_size=_ROWS)
        elif self.library == "daft":
            yield from self.engine.to_arrow_iter()
        elif self.path is not None:
            yield from _files(self.path, self.format).to_batches(batch_size=_ROWS)
        else:
            yield from self.table.to_batches(max_chunksize=_ROWS)

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Yield the rows, one mapping each."""
        for table in self.tables():
            yield from table.to_pylist()


def open_source(source: Source) -> RowSource:
    """Open a source and check its columns, before anything is generated.

    Raises:
        InvalidRequest: It cannot be read, or has a column that is not a parameter.
        MissingPackage: pyarrow, or the library of a frame, is not installed.
    """
    opened = _open(source)
    if opened.library == "ray":
        check_columns(opened.engine.schema().names)
    elif opened.library == "daft":
        check_columns(opened.engine.column_names)
    elif opened.path is not None:
        check_columns(_files(opened.path, opened.format).schema.names)
    else:
        check_columns(opened.table.column_names)
    return opened


def _open(source: Source) -> RowSource:
    library = type(source).__module__.partition(".")[0]
    if library in {"ray", "daft"}:
        return RowSource(engine=source)
    if is_frame(source):
        frame = narwhals().from_native(source, pass_through=False)
        frame = frame.collect() if hasattr(frame, "collect") else frame
        table = frame.to_arrow().select(frame.columns)  # pandas adds its index
        return RowSource(table=table, total=table.num_rows)
    if isinstance(source, Path) or (isinstance(source, str) and _is_path(source)):
        return _open_path(str(source))
    if isinstance(source, str):
        source = [source]
    if isinstance(source, Iterable):
        rows = [{"prompt": each} if isinstance(each, str) else each for each in cast("Iterable[Any]", source)]
        table = pyarrow().Table.from_pylist(rows)
        return RowSource(table=table, total=table.num_rows)
    raise _refusal(f"{brief(source)} is not a source of rows", source)


def _is_path(source: str) -> bool:
    return "\n" not in source and (Path(source).suffix.lower() in _FORMATS or Path(source).is_dir())


def _open_path(source: str) -> RowSource:
    path = source if "://" in source else str(Path(source).expanduser().absolute())
    suffix = Path(path).suffix.lower()
    is_file = "://" in path or Path(path).is_file()
    if is_file and suffix in _FORMATS:
        kind = _FORMATS[suffix]
        _check_encoding(path, kind)
    elif Path(path).is_dir() or "://" in path:
        kind = "parquet"
    else:
        raise _refusal(f"{brief(source)} is neither such a file nor a folder", source)
    total = _files(path, kind).count_rows() if kind == "parquet" else None
    return RowSource(path=path, format=kind, total=total)


def _check_encoding(path: str, kind: FileFormat) -> None:
    """Refuse a text file that is not in UTF-8, such as Windows PowerShell writes."""
    if kind == "parquet" or "://" in path:
        return
    with Path(path).open("rb") as file:
        encoding = marked_encoding(file.read(4))
    if encoding in {"utf-16", "utf-32"}:
        raise _refusal(f"{brief(path)} is {encoding.upper()} text; save it as UTF-8", path)


def _files(path: str, kind: FileFormat) -> Any:  # noqa: ANN401 - pyarrow's
    arrow = pyarrow()
    try:
        return import_module("pyarrow.dataset").dataset(path, format=kind)
    except (OSError, arrow.ArrowException) as error:
        raise _refusal(f"{brief(path)} cannot be read: {one_line(str(error))}", path) from error


def _refusal(message: str, source: object) -> InvalidRequest:
    return InvalidRequest(
        f"{message}. Allowed: {_ALLOWED}.",
        parameter="source",
        value=brief(source),
        allowed=_ALLOWED,
        next_step="Correct the source, and call again; nothing was sent.",
    )
