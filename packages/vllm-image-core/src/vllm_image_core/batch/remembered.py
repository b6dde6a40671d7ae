"""A picture of a batch as it was made earlier: read back from its file, with its request and its receipt."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_image_core.batch.item import BatchItem, Told
from vllm_image_core.editing.making import receipt_of, resolved_by
from vllm_image_core.errors import BadPicture, InvalidRequest, RecordedFailure
from vllm_image_core.files.record import Record, facts_in
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.picture import Picture
from vllm_image_core.profile import Profile
from vllm_image_core.provenance.untrusted_json import as_list
from vllm_image_core.registry import Registry
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest, resolve
from vllm_image_core.text import one_line

__all__ = [
    "failure",
    "image",
    "is_sound",
    "is_whole",
    "lost_request",
    "told_of_error",
    "told_of_image",
    "told_of_record",
]

_MOST_BYTES: Final = 2**30
"""No picture that is read back is larger."""


def told_of_image(made: GeneratedImage, root: Path) -> Told:
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


def told_of_record(record: Record) -> Told:
    """The same of a picture that lies in the folder and that the journal did not know."""
    told = {
        "file": record.path.name,
        "bytes": record.bytes,
        "seconds": record.seconds,
        "model": record.model,
    }
    return {name: value for name, value in told.items() if value is not None}


def told_of_error(error: Exception) -> Told:
    """What the journal keeps of a failure."""
    notes = getattr(error, "__notes__", [])
    return {
        "error": " ".join([str(error), *notes]),
        "kind": type(error).__name__,
        "next_step": getattr(error, "next_step", None),
    }


def failure(told: Told) -> RecordedFailure:
    """A failure as the journal tells it."""
    next_step = told.get("next_step")
    return RecordedFailure(
        str(told.get("error", "It failed.")),
        kind=str(told.get("kind", "Exception")),
        next_step=next_step if isinstance(next_step, str) else None,
    )


def lost_request() -> RecordedFailure:
    """Why a request fails that could not be read from a damaged journal, and has no picture in the folder."""
    return RecordedFailure(
        "The journal of batches was damaged, and this request could not be read from it.",
        kind="JournalUnavailable",
        next_step="Send it again in a new batch; the damaged file is kept next to the journal.",
    )


def is_whole(told: Told, root: Path) -> bool:
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
    profile = registry.named(str(named)) or registry.fallback
    request = _request_in(data, picture) if item.lost else item.request
    resolved = _resolved(request, profile, registry, picture)
    sent = receipt_of(request, resolved)
    seconds = told.get("seconds")
    return GeneratedImage(
        picture=picture,
        path=path,
        request=resolved,
        model=str(told.get("model", profile.model)),
        receipt=sent.confirmed(size=picture.size, output_format=picture.format),
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


def _resolved(
    request: ImageRequest, profile: Profile, registry: Registry, picture: Picture
) -> ResolvedRequest:
    """What was sent; of an edit whose own pictures are gone, as much as can be told without them."""
    with suppress(InvalidRequest):  # of another model, or of a damaged journal
        return resolved_by(request, profile, registry, draw_seed=lambda: 0)
    plain = resolve(
        replace(request, width=None, height=None, aspect_ratio=None), profile, draw_seed=lambda: 0
    )
    return replace(plain, width=picture.size.width, height=picture.size.height)


def _server(told: Told, data: bytes) -> str | None:
    """Who made it: as the journal tells, or the file where the journal did not know the picture."""
    if told.get("reused") is True:
        return None
    server = told.get("server") or facts_in(data).get("server")
    return server if isinstance(server, str) else None


def _file(path: Path, root: Path) -> str:
    """The name in the folder, so that the folder can move; the whole path of a picture elsewhere."""
    return path.name if path.parent == root else str(path)
