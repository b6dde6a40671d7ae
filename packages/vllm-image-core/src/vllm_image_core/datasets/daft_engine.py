"""Daft engine: generate the images of a source's rows as a column of a Daft frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, Final

from vllm_image_core.datasets.generator_thread import GeneratorThread
from vllm_image_core.datasets.image_generator import GeneratorSpec
from vllm_image_core.datasets.image_row import ImageRow, schema
from vllm_image_core.datasets.source import RowSource
from vllm_image_core.errors import ImageError, MissingPackage, RunStopped
from vllm_image_core.text import one_line

_ROWS: Final = 64
"""Maximum rows that one call of a column's method takes."""

_COLUMN: Final = "row"


def run_on_daft(source: RowSource, spec: GeneratorSpec) -> Iterator[Sequence[ImageRow]]:
    """Generate the images of a source on Daft, and yield rows about those that were not finished.

    Daft runs in this process, unless its runner was set to a cluster or Ray has been started here: then it
    runs on that. Each of its processes has one client.

    Raises:
        MissingPackage: Daft is not installed.
        RunStopped: The run has failed; it can be continued.
    """
    daft = import_daft()
    frame = _frame(daft, source)
    generator = _column_class(daft)(spec)
    given = daft.functions.to_struct(*(frame[name] for name in frame.column_names))
    made = frame.select(generator.generate(given).alias(_COLUMN))
    try:
        for batch in made.where(~made[_COLUMN].is_null()).to_arrow_iter():
            yield [ImageRow(**each) for each in batch.column(0).to_pylist()]
    except ImageError:
        raise
    except Exception as error:  # a boundary: Daft passes errors of its workers on in its own classes
        raise RunStopped(f"Daft has stopped: {one_line(str(error))}") from error


def import_daft() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    """Return the module daft.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        return import_module("daft")
    except ImportError as error:
        raise MissingPackage("daft", needed_for='it is the engine "daft"', extra="daft") from error


def _frame(daft: Any, source: RowSource) -> Any:  # noqa: ANN401 - Daft's
    if source.library == "daft":
        return source.engine
    if source.path is None:
        return daft.from_arrow(source.table if source.table is not None else list(source.tables()))
    pattern = source.path if source.is_file else f"{source.path}/**/*.parquet"
    return getattr(daft, f"read_{source.format}")(pattern)


def _column_class(daft: Any) -> Any:  # noqa: ANN401 - Daft's
    kind = daft.DataType.from_arrow_type(import_module("pyarrow").struct(list(schema())))

    @daft.cls(max_concurrency=1)
    class ImageColumn:
        """Generates a column of images; Daft makes one in each of its processes."""

        def __init__(self, spec: GeneratorSpec) -> None:
            self._thread = GeneratorThread(spec)

        @daft.method.batch(return_dtype=kind, batch_size=_ROWS)
        async def generate(self, given: Any) -> Any:  # noqa: ANN401 - Daft's
            rows: Sequence[Mapping[str, object]] = given.to_pylist()
            found = await self._thread.generate(rows)
            return daft.Series.from_pylist([row and asdict(row) for row in found], dtype=kind)

        def __del__(self) -> None:
            self._thread.close()

    return ImageColumn
