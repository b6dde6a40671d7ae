"""Use data frames of pandas, Polars or PyArrow, whichever is installed, through narwhals."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

from vllm_image_core.errors import MissingPackage

FrameBackend = Literal["pandas", "polars", "pyarrow"]
"""The libraries of data frames."""

_EXTRA: Final = "frames"


def narwhals() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    """Return the module narwhals, which reads and writes the frames of all these libraries.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        return import_module("narwhals.stable.v2")
    except ImportError as error:
        raise MissingPackage("narwhals", needed_for="it converts data frames", extra=_EXTRA) from error


def backend_of(backend: FrameBackend | None) -> FrameBackend:
    """Return the library to use: the requested one, or the first that is installed.

    Raises:
        MissingPackage: It is not installed, or none is.
    """
    asked = get_args(FrameBackend) if backend is None else (backend,)
    for each in asked:
        if find_spec(each):
            return each
    names = "pandas, polars or pyarrow" if backend is None else backend
    raise MissingPackage(names, needed_for="it holds the data frame", extra=_EXTRA)


def frame(rows: Sequence[Mapping[str, object]], backend: FrameBackend | None) -> Any:  # noqa: ANN401 - theirs
    """Return the rows as a data frame with a column for each name that any of them has.

    Raises:
        MissingPackage: The library is not installed, or none is.
    """
    module, found = narwhals(), backend_of(backend)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return module.from_dict(columns, backend=found).to_native()
