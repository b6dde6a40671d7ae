"""Write data frames of pandas, Polars or PyArrow, whichever is installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

from vllm_image_core.errors import MissingPackage

__all__ = ["FrameBackend", "frame", "narwhals"]

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


def frame(rows: Sequence[Mapping[str, object]], backend: FrameBackend | None) -> Any:  # noqa: ANN401 - theirs
    """Return the rows as a data frame with a column for each name that any of them has.

    Raises:
        MissingPackage: The library is not installed, or none is.
    """
    module = narwhals()
    backends = get_args(FrameBackend) if backend is None else (backend,)
    found = next((each for each in backends if find_spec(each)), None)
    if found is None:
        names = "none of pandas, polars and pyarrow" if backend is None else backend
        raise MissingPackage(names, needed_for="it makes the data frame", extra=_EXTRA)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return module.from_dict(columns, backend=found).to_native()
