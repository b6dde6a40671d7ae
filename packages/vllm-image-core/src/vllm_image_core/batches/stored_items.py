"""Convert batch requests and their outcomes to and from the JSON that the journal stores."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from vllm_image_core.errors import BadPicture, InvalidRequest, RecordedFailure
from vllm_image_core.generation.operations import resolve_operation
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.facts import as_list, json_object
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.storage.input_store import inputs_as_json, recorded_inputs
from vllm_image_core.storage.record import Record, facts_in
from vllm_image_core.text import one_line

__all__ = [
    "LOST",
    "BatchItem",
    "ItemState",
    "StoredOutcome",
    "as_json",
    "is_complete",
    "is_request",
    "is_valid_image",
    "lost_request_error",
    "read_image",
    "request_as_json",
    "request_from_json",
    "restore_error",
    "stored_error",
    "stored_image",
    "stored_record",
]


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
_INPUTS: Final = "inputs"
"""Key of an edit's input images; plain generations do not have it."""


def request_as_json(request: ImageRequest) -> str:
    """Serialize a request to JSON, without fields that have their default value.

    The input images of an edit must have been stored before, by `input_store.store_inputs`.
    """
    defaults = _FIELDS[request.task].items()
    stored = {name: value for name, default in defaults if (value := getattr(request, name)) is not default}
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
    request = kind(**{"prompt": "", **found})  # type: ignore[arg-type]  # checked by the resolver
    return request.with_inputs(recorded_inputs(stored.get(_INPUTS), root))


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


_MOST_BYTES: Final = 2**30
"""Largest image that is read back."""


def stored_image(image: GeneratedImage, root: Path) -> StoredOutcome:
    """What the journal stores for a saved image."""
    stored = {
        "file": _file(image.path, root),
        "bytes": len(image.picture.bytes),
        "seconds": round(image.seconds, 3),
        "model": image.model,
        "profile": image.request.model,
        "server": image.server,
        "reused": image.reused,
        "spilled": image.spilled,
        "notes": list(image.notes),
    }
    return {name: value for name, value in stored.items() if value not in (None, False, [])}


def stored_record(record: Record) -> StoredOutcome:
    """What the journal stores for an image that was found in the folder but not in the journal."""
    stored = {
        "file": record.path.name,
        "bytes": record.bytes,
        "seconds": record.seconds,
        "model": record.model,
    }
    return {name: value for name, value in stored.items() if value is not None}


def stored_error(error: Exception) -> StoredOutcome:
    """What the journal stores for a failure."""
    notes = getattr(error, "__notes__", [])
    return {
        "error": " ".join([str(error), *notes]),
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
        return isinstance(file, str) and (root / file).lstat().st_size == outcome.get("bytes")
    except OSError:
        return False


def is_valid_image(path: Path) -> bool:
    """Whether a file is a complete image; reads all of it."""
    try:
        with path.open("rb") as file:
            Picture.check(file.read(_MOST_BYTES))
    except (OSError, BadPicture):
        return False
    return True


def read_image(item: BatchItem, root: Path, registry: Registry) -> GeneratedImage:
    """Read the image of an item that is done; blocks on disk I/O.

    Raises:
        RecordedFailure: Its file was removed, or is no longer an image.
    """
    outcome = item.outcome
    path = root / str(outcome.get("file"))
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        picture = Picture.check_file(data)
    except (OSError, BadPicture) as error:
        where = one_line(str(path), limit=300)
        raise RecordedFailure(
            f"The image was generated, but {where} can no longer be read: {error}",
            kind=type(error).__name__,
            next_step="Generate it again with retry_failed or in a new batch.",
        ) from error
    named = outcome.get("profile") or facts_in(data).get("profile")
    profile = registry.by_name(str(named)) or registry.fallback
    request = _request_in(data, picture) if item.lost else item.request
    resolved = _resolve_as_sent(request, profile, registry, picture)
    sent = resolved.receipt(request)
    seconds = outcome.get("seconds")
    return GeneratedImage(
        picture=picture,
        path=path,
        request=resolved,
        model=str(outcome.get("model", profile.model)),
        receipt=sent.confirm(size=picture.size, output_format=picture.format),
        seconds=seconds if isinstance(seconds, (int, float)) else 0.0,
        server=_server(outcome, data),
        notes=tuple(str(note) for note in as_list(outcome.get("notes"))),
        reused=outcome.get("reused") is True,
        spilled=outcome.get("spilled") is True,
    )


def _request_in(data: bytes, picture: Picture) -> ImageRequest:
    """Rebuild a request that the journal has lost, as far as the image file records it."""
    facts = facts_in(data)
    prompt, seed = facts.get("prompt"), facts.get("seed")
    return ImageRequest(
        prompt=prompt if isinstance(prompt, str) and prompt.strip() else "unknown",
        seed=seed if isinstance(seed, int) else None,
        width=picture.size.width,
        height=picture.size.height,
    )


def _resolve_as_sent(
    request: ImageRequest, profile: Profile, registry: Registry, picture: Picture
) -> ResolvedRequest:
    """Resolve a request as it was sent; an edit whose input images are gone is resolved without them."""
    with suppress(InvalidRequest):  # for another model, or from a damaged journal
        return resolve_operation(request, profile, registry, draw_seed=lambda: 0)
    plain = resolve(
        replace(request, width=None, height=None, aspect_ratio=None), profile, draw_seed=lambda: 0
    )
    return replace(plain, width=picture.size.width, height=picture.size.height)


def _server(outcome: StoredOutcome, data: bytes) -> str | None:
    """Which server generated it, from the journal or else from the file."""
    if outcome.get("reused") is True:
        return None
    server = outcome.get("server") or facts_in(data).get("server")
    return server if isinstance(server, str) else None


def _file(path: Path, root: Path) -> str:
    """The file name, so that the folder can be moved; the full path of an image elsewhere."""
    return path.name if path.parent == root else str(path)
