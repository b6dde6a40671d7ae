"""One request of a batch, and what became of it, as the journal keeps them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from vllm_image_core.batch.kept_inputs import inputs_told, with_inputs
from vllm_image_core.edit import EditRequest
from vllm_image_core.provenance.untrusted_json import json_object
from vllm_image_core.request import ImageRequest

__all__ = [
    "LOST",
    "BatchItem",
    "ItemState",
    "Told",
    "as_json",
    "is_request",
    "request_as_json",
    "request_from_json",
]

LOST: Final = '{"lost":true}'
"""In place of a request that could not be read from a damaged journal."""


Told = Mapping[str, object]
"""What the journal tells of an item: its file, its seconds, its error; by name."""


class ItemState(IntEnum):
    """Where a request is. The numbers stand in journals: they never change their meaning."""

    WAITING = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """A request of a batch with its place.

    Attributes:
        position: From 0, in the order in which the requests came.
        request: Checked when it was recorded; its seed is drawn.
        state: As the journal has it.
        told: What the journal tells besides.
        lost: Whether the request itself could not be read from a damaged journal: `request` is empty.
    """

    position: int
    request: ImageRequest
    state: ItemState = ItemState.WAITING
    told: Told
    lost: bool = False


_PICTURES: Final = frozenset({"images", "mask", "reference_image"})
_FIELDS: Final = tuple((field.name, field.default) for field in fields(ImageRequest))
_EDIT_FIELDS: Final = tuple(
    (field.name, field.default) for field in fields(EditRequest) if field.name not in _PICTURES
)
_NAMES: Final = frozenset(name for name, _ in _FIELDS)
_EDIT_NAMES: Final = frozenset(name for name, _ in _EDIT_FIELDS)
_INPUTS: Final = "inputs"
"""Where an edit's pictures are told; no generation has it."""


def request_as_json(request: ImageRequest) -> str:
    """A request as JSON; what was not asked for is left out.

    The pictures of an edit are kept already, by `kept_inputs.kept`.
    """
    if isinstance(request, EditRequest):
        return as_json({**_asked(request, _EDIT_FIELDS), _INPUTS: inputs_told(request)})
    return as_json(_asked(request, _FIELDS))


def request_from_json(text: str, root: Path) -> ImageRequest:
    """The request that `request_as_json` wrote; fields that a newer version has added are left out.

    A text that is none, or has values of other kinds, gives a request that is refused when it is resolved.

    Args:
        text: From the journal.
        root: The output folder, where an edit's pictures are.
    """
    told = json_object(text)
    if _INPUTS not in told:
        found = {name: value for name, value in told.items() if name in _NAMES}
        return ImageRequest(**{"prompt": "", **found})  # type: ignore[arg-type]  # checked by the resolver
    found = {name: value for name, value in told.items() if name in _EDIT_NAMES}
    edit = EditRequest(**{"prompt": "", **found})  # type: ignore[arg-type]  # checked by the resolver
    return with_inputs(edit, told[_INPUTS], root)


def is_request(text: object) -> bool:
    """Whether a text is one that `request_as_json` may have written, or stands for one that is lost."""
    return isinstance(text, str) and (text == LOST or "prompt" in json_object(text))


def as_json(values: Mapping[str, object]) -> str:
    """Some values as compact JSON; numbers of other libraries become plain ones."""
    return _ENCODER.encode(values)


def _asked(request: ImageRequest, known: tuple[tuple[str, object], ...]) -> dict[str, object]:
    return {name: value for name, default in known if (value := getattr(request, name)) is not default}


def _plain(value: object) -> object:
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)
