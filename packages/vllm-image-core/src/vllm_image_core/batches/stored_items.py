"""One request of a batch, and what became of it, as the journal keeps them."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Final

from vllm_image_core.errors import BadPicture, InvalidRequest, RecordedFailure
from vllm_image_core.generation.operations import receipt_of, resolve_operation
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.facts import as_list, json_object
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.storage.input_store import inputs_told, with_inputs
from vllm_image_core.storage.record import Record, facts_in
from vllm_image_core.text import one_line

__all__ = [
    "LOST",
    "BatchItem",
    "ItemState",
    "StoredOutcome",
    "as_json",
    "failure",
    "image",
    "is_request",
    "is_sound",
    "is_whole",
    "lost_request_error",
    "request_as_json",
    "request_from_json",
    "stored_error",
    "stored_image",
    "stored_record",
]


LOST: Final = '{"lost":true}'
"""In place of a request that could not be read from a damaged journal."""


StoredOutcome = Mapping[str, object]
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
    told: StoredOutcome
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
        return as_json({**_changed_fields(request, _EDIT_FIELDS), _INPUTS: inputs_told(request)})
    return as_json(_changed_fields(request, _FIELDS))


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


def _changed_fields(request: ImageRequest, known: tuple[tuple[str, object], ...]) -> dict[str, object]:
    return {name: value for name, default in known if (value := getattr(request, name)) is not default}


def _plain(value: object) -> object:
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)


_MOST_BYTES: Final = 2**30
"""No picture that is read back is larger."""


def stored_image(made: GeneratedImage, root: Path) -> StoredOutcome:
    """What the journal keeps of a picture."""
    told = {
        "file": _file(made.path, root),
        "bytes": len(made.picture.bytes),
        "seconds": round(made.seconds, 3),
        "model": made.model,
        "profile": made.request.model,
        "server": made.server,
        "reused": made.reused,
        "spilled": made.spilled,
        "notes": list(made.notes),
    }
    return {name: value for name, value in told.items() if value not in (None, False, [])}


def stored_record(record: Record) -> StoredOutcome:
    """The same of a picture that lies in the folder and that the journal did not know."""
    told = {
        "file": record.path.name,
        "bytes": record.bytes,
        "seconds": record.seconds,
        "model": record.model,
    }
    return {name: value for name, value in told.items() if value is not None}


def stored_error(error: Exception) -> StoredOutcome:
    """What the journal keeps of a failure."""
    notes = getattr(error, "__notes__", [])
    return {
        "error": " ".join([str(error), *notes]),
        "kind": type(error).__name__,
        "next_step": getattr(error, "next_step", None),
    }


def failure(told: StoredOutcome) -> RecordedFailure:
    """A failure as the journal tells it."""
    next_step = told.get("next_step")
    return RecordedFailure(
        str(told.get("error", "It failed.")),
        kind=str(told.get("kind", "Exception")),
        next_step=next_step if isinstance(next_step, str) else None,
    )


def lost_request_error() -> RecordedFailure:
    """Why a request fails that could not be read from a damaged journal, and has no picture in the folder."""
    return RecordedFailure(
        "The journal of batches was damaged, and this request could not be read from it.",
        kind="JournalUnavailable",
        next_step="Send it again in a new batch; the damaged file is kept next to the journal.",
    )


def is_whole(told: StoredOutcome, root: Path) -> bool:
    """Whether the file of a picture is there with all its bytes: it was made visible whole, or not at all."""
    file = told.get("file")
    try:
        return isinstance(file, str) and (root / file).lstat().st_size == told.get("bytes")
    except OSError:
        return False


def is_sound(path: Path) -> bool:
    """Whether a file is a whole picture; it is read to its end."""
    try:
        with path.open("rb") as file:
            Picture.check(file.read(_MOST_BYTES))
    except (OSError, BadPicture):
        return False
    return True


def image(item: BatchItem, root: Path, registry: Registry) -> GeneratedImage:
    """The picture of an item that is done; waits for the disk.

    Raises:
        RecordedFailure: Its file was removed, or is no picture any more.
    """
    told = item.told
    path = root / str(told.get("file"))
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        picture = Picture.check_file(data)
    except (OSError, BadPicture) as error:
        where = one_line(str(path), limit=300)
        raise RecordedFailure(
            f"The picture was made, and {where} cannot be read any more: {error}",
            kind=type(error).__name__,
            next_step="Make it again with retry_failed or in another batch.",
        ) from error
    named = told.get("profile") or facts_in(data).get("profile")
    profile = registry.by_name(str(named)) or registry.fallback
    request = _request_in(data, picture) if item.lost else item.request
    resolved = _resolve_as_sent(request, profile, registry, picture)
    sent = receipt_of(request, resolved)
    seconds = told.get("seconds")
    return GeneratedImage(
        picture=picture,
        path=path,
        request=resolved,
        model=str(told.get("model", profile.model)),
        receipt=sent.confirm(size=picture.size, output_format=picture.format),
        seconds=seconds if isinstance(seconds, (int, float)) else 0.0,
        server=_server(told, data),
        notes=tuple(str(note) for note in as_list(told.get("notes"))),
        reused=told.get("reused") is True,
        spilled=told.get("spilled") is True,
    )


def _request_in(data: bytes, picture: Picture) -> ImageRequest:
    """What was asked for, as far as the picture's own file tells, where the journal has lost it."""
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
    """What was sent; of an edit whose own pictures are gone, as much as can be told without them."""
    with suppress(InvalidRequest):  # of another model, or of a damaged journal
        return resolve_operation(request, profile, registry, draw_seed=lambda: 0)
    plain = resolve(
        replace(request, width=None, height=None, aspect_ratio=None), profile, draw_seed=lambda: 0
    )
    return replace(plain, width=picture.size.width, height=picture.size.height)


def _server(told: StoredOutcome, data: bytes) -> str | None:
    """Who made it: as the journal tells, or the file where the journal did not know the picture."""
    if told.get("reused") is True:
        return None
    server = told.get("server") or facts_in(data).get("server")
    return server if isinstance(server, str) else None


def _file(path: Path, root: Path) -> str:
    """The name in the folder, so that the folder can move; the whole path of a picture elsewhere."""
    return path.name if path.parent == root else str(path)
