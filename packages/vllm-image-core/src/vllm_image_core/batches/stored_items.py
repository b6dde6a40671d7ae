"""Convert batch requests and their outcomes to and from the JSON that the journal stores."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from vllm_image_core.errors import InvalidRequest, RecordedFailure
from vllm_image_core.provenance.facts import as_object, json_object
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.styling import read_style
from vllm_image_core.storage.input_store import inputs_as_json, recorded_inputs
from vllm_image_core.storage.record import Record
from vllm_image_core.storage.subfolders import name_in
from vllm_image_core.storage.verdicts import current_path
from vllm_image_core.text import message_of

LOST: Final = '{"lost":true}'
"""Stored in place of a request that could not be read from a damaged journal."""


StoredOutcome = Mapping[str, object]
"""What the journal stores about an item, by name: file, seconds, error and so on."""


class ItemState(IntEnum):
    """State of a request. The numbers are stored in journals, so their meaning never changes."""

    WAITING = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One request of a batch as the journal stores it.

    Attributes:
        position: From 0, in the order of the requests.
        request: The request as recorded: checked, with its seed drawn.
        state: State in the journal.
        outcome: What else the journal stores about it.
        lost: Whether the request could not be read from a damaged journal; `request` is then empty.
    """

    position: int
    request: ImageRequest
    state: ItemState = ItemState.WAITING
    outcome: StoredOutcome
    lost: bool = False


_PICTURES: Final = frozenset({"images", "mask", "reference_image"})
_FIELDS: Final[Mapping[Task, Mapping[str, object]]] = {
    kind.task: {field.name: field.default for field in fields(kind) if field.name not in _PICTURES}
    for kind in (ImageRequest, EditRequest)
}
_STYLE: Final = "style"
_INPUTS: Final = "inputs"
"""Key of an edit's input images; plain generations do not have it."""


def request_as_json(request: ImageRequest) -> str:
    """Serialize a request to JSON, without fields that have their default value.

    The input images of an edit must have been stored before, by `input_store.store_inputs`.
    """
    defaults = _FIELDS[request.task].items()
    stored = {name: value for name, default in defaults if (value := getattr(request, name)) is not default}
    if isinstance(request.style, Style):
        stored[_STYLE] = {"name": request.style.name, **request.style.as_table()}
    return as_json(stored | ({_INPUTS: inputs_as_json(request)} if request.task == "edit" else {}))


def request_from_json(text: str, root: Path) -> ImageRequest:
    """Restore the request that `request_as_json` wrote, ignoring fields added by a newer version.

    Invalid JSON or values of the wrong type give a request that is refused when it is resolved.

    Args:
        text: JSON from the journal.
        root: The output folder, which contains the input images of edits.
    """
    stored = json_object(text)
    kind = EditRequest if _INPUTS in stored else ImageRequest
    found = {name: value for name, value in stored.items() if name in _FIELDS[kind.task]}
    if _STYLE in found:
        found[_STYLE] = _stored_style(found[_STYLE])
    request = kind(**{"prompt": "", **found})  # type: ignore[arg-type]  # checked by the resolver
    return request.with_inputs(recorded_inputs(stored.get(_INPUTS), root))


def _stored_style(value: object) -> object:
    """Return a stored style; one that cannot be read stays as it is, and is refused when it is resolved."""
    table = dict(as_object(value))
    name = table.pop("name", None)
    try:
        return read_style(name, table) if isinstance(name, str) else value
    except InvalidRequest:
        return value


def is_request(text: object) -> bool:
    """Whether this is text that `request_as_json` may have written, or the placeholder of a lost request."""
    return isinstance(text, str) and (text == LOST or "prompt" in json_object(text))


def as_json(values: Mapping[str, object]) -> str:
    """Serialize values to compact JSON; numbers of other libraries become plain numbers."""
    return _ENCODER.encode(values)


def _plain(value: object) -> object:
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)


def stored_image(image: GeneratedImage, root: Path) -> StoredOutcome:
    """What the journal stores for a saved image."""
    stored = {
        "file": _file(image.path, root),
        "bytes": image.picture.length,
        "seconds": round(image.seconds, 3),
        "model": image.model,
        "profile": image.request.model,
        "server": image.server,
        "reused": image.reused,
        "spilled": image.spilled,
        "notes": list(image.notes),
    }
    return {name: value for name, value in stored.items() if value not in (None, False, [])}


def stored_record(record: Record, root: Path) -> StoredOutcome:
    """What the journal stores for an image that was found in the folder but not in the journal."""
    stored = {
        "file": _file(record.path, root),
        "bytes": record.bytes,
        "seconds": record.seconds,
        "model": record.model,
    }
    return {name: value for name, value in stored.items() if value is not None}


def stored_error(error: Exception) -> StoredOutcome:
    """What the journal stores for a failure."""
    notes = getattr(error, "__notes__", [])
    return {
        "error": " ".join([message_of(error), *notes]),
        "kind": type(error).__name__,
        "next_step": getattr(error, "next_step", None),
    }


def restore_error(outcome: StoredOutcome) -> RecordedFailure:
    """Restore a failure from the journal."""
    next_step = outcome.get("next_step")
    return RecordedFailure(
        str(outcome.get("error", "It failed.")),
        kind=str(outcome.get("kind", "Exception")),
        next_step=next_step if isinstance(next_step, str) else None,
    )


def lost_request_error() -> RecordedFailure:
    """The failure of a request that was lost with a damaged journal and has no image in the folder."""
    return RecordedFailure(
        "The journal of batches was damaged, and this request could not be read from it.",
        kind="JournalUnavailable",
        next_step="Send it again in a new batch; the damaged file is kept next to the journal.",
    )


def is_complete(outcome: StoredOutcome, root: Path) -> bool:
    """Whether an image's file exists with its recorded size; files appear complete or not at all."""
    file = outcome.get("file")
    try:
        return isinstance(file, str) and current_path(root, file).lstat().st_size == outcome.get("bytes")
    except OSError:
        return False


def _file(path: Path, root: Path) -> str:
    """The file name, so that the folder can be moved; the full path of an image elsewhere."""
    return name_in(root, path) if str(path).startswith(f"{root}{os.sep}") else str(path)
