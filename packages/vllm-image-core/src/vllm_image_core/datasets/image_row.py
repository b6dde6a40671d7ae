"""Image row: describe the outcome of one request as a row of a Parquet file."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any, Final, Literal

from vllm_image_core.datasets.job_id import ID_BYTES, JobId
from vllm_image_core.errors import MissingPackage

RowStatus = Literal["done", "reused", "failed"]
"""The image was generated now, was in the store already, or could not be generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """What became of one request. The image itself is in the store; a row never holds its bytes.

    Attributes:
        job_id: The request's id, 16 bytes; None if the request cannot be used.
        uri: The image's address; None if there is no image.
        sha256: Hash of the image file, 64 hexadecimal digits.
        width: Pixels.
        height: Pixels.
        seed: The seed that was sent.
        model: The model, by the name of its profile.
        server: Base URL of the server that generated it, without credentials.
        seconds: From sending the request to the complete reply.
        status: Whether the image was generated now ("done"), existed ("reused") or could not be generated
            ("failed").
        error: Why it failed, in a sentence; None otherwise.
    """

    job_id: JobId | None = None
    uri: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    model: str | None = None
    server: str | None = None
    seconds: float | None = None
    status: RowStatus
    error: str | None = None


COLUMNS: Final = tuple(each.name for each in fields(ImageRow))
"""The columns of a row, in order."""


def pyarrow() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    """Return the module pyarrow.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        return import_module("pyarrow")
    except ImportError as error:
        needed = "it reads and writes Parquet files"
        raise MissingPackage("pyarrow", needed_for=needed, extra="stores") from error


def schema() -> Any:  # noqa: ANN401 - pyarrow's
    """Return the columns and their types, as pyarrow's schema."""
    arrow = pyarrow()
    types = {
        "job_id": arrow.binary(ID_BYTES),
        "width": arrow.int32(),
        "height": arrow.int32(),
        "seed": arrow.int64(),
        "seconds": arrow.float64(),
    }
    return arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])


def table_of_rows(rows: Iterable[ImageRow]) -> Any:  # noqa: ANN401 - pyarrow's
    """Return rows as a pyarrow table."""
    return pyarrow().Table.from_pylist([asdict(each) for each in rows], schema=schema())


def rows_of_table(table: Any) -> Sequence[ImageRow]:  # noqa: ANN401 - pyarrow's
    """Return the rows in a table, or a batch, that `table_of_rows` made."""
    return [ImageRow(**each) for each in table.to_pylist()]
