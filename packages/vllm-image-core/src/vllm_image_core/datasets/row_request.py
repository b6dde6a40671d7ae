"""Row request: turn a row's columns into an image request, with a seed that is the same in every process."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Final

from vllm_image_core.batch_file.columns import COLUMNS, column_named, refusal_of_column
from vllm_image_core.batch_file.frame_rows import is_missing, plain_value
from vllm_image_core.checks import check_integer
from vllm_image_core.datasets.job_id import seed_of_row
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.expansion import Expansion
from vllm_image_core.requests.fields import RANDOM_SEED
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import draw_seed
from vllm_image_core.requests.wildcards import Wildcards

_COPY: Final = "copy"
_MOST_COPIES: Final = 2**31
_REQUEST: Final = tuple(
    each.name for each in fields(ImageRequest) if each.name not in {"prompt", "filename", "seed_drawn"}
)

ROW_COLUMNS: Final = ("prompt", *_REQUEST, "size", _COPY)
"""The columns that a row may have: the fields of a request, `size`, and `copy`, which numbers images of the
same prompt from 0."""


def check_columns(names: Iterable[str]) -> None:
    """Check the columns of a source, including their other names, such as "steps".

    Raises:
        InvalidRequest: One is not a parameter, two have the same meaning, or there is no prompt.
    """
    given = list(names)
    found = [_column(name) for name in given]
    unknown = next((name for name, meant in zip(given, found, strict=True) if meant not in ROW_COLUMNS), None)
    if unknown is not None:
        known = column_named(unknown)
        why = f"{unknown} is not used here" if known in {"filename", "count"} else refusal_of_column(unknown)
        raise _refusal(f"{why.partition('. Allowed')[0]}.", unknown)
    if "prompt" not in found:
        raise _refusal("There is no column prompt.", "prompt")
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise _refusal(f"Two columns mean {twice}.", twice)


def image_request(row: Mapping[str, object], defaults: Mapping[str, object]) -> ImageRequest:
    """Return the request of a row.

    A row without a seed gets one that is a hash of its values, so that the same row is the same image in
    every run. Rows with equal values are one image, unless their `copy` differs.

    Args:
        row: The values by column; None, NaN and similar mean that a value is missing.
        defaults: Values for the columns that a row does not set.

    Raises:
        InvalidRequest: A column or a value cannot be used.
    """
    own = {_column(name): value for name, value in _values(row).items()}
    sized = own.keys() & {"width", "height", "aspect_ratio", "size"}
    shared = {
        name: value
        for name, value in defaults.items()
        if not (sized and name in {"width", "height", "aspect_ratio", "size"})
    }
    values = {**shared, **own}
    copy = check_integer(_COPY, values.pop(_COPY, 0), 0, _MOST_COPIES, allowed="an integer of 0 or more")
    check_columns(values)
    if values.get("seed") in {None, RANDOM_SEED}:
        values.pop("seed", None)
        values["seed"] = seed_of_row(values, copy)
    [request] = Expansion(shared=_NOTHING, wildcards=_NO_WILDCARDS, draw_seed=draw_seed).of_prompt(values)
    return request


_KINDS: Final = {**COLUMNS, _COPY: "integer"}
_NOTHING: Final = ImageRequest(prompt="")
_NO_WILDCARDS: Final = Wildcards()


def _column(name: str) -> str:
    plain = name.strip().lower()
    return plain if plain in ROW_COLUMNS else column_named(name)


def _values(row: Mapping[str, object]) -> dict[str, object]:
    return {
        name: plain_value(value, _KINDS.get(_column(name), "text"))
        for name, value in row.items()
        if not is_missing(value)
    }


def _refusal(message: str, column: str) -> InvalidRequest:
    allowed = ", ".join(ROW_COLUMNS)
    return InvalidRequest(
        f"{message} Allowed columns: {allowed}.",
        parameter=column,
        value=column,
        allowed=allowed,
        next_step="Rename or drop the column, and call again; nothing was sent.",
    )
