"""Read an image of a batch back from its file, with the request that it was generated from."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from vllm_image_core.batches.stored_items import BatchItem, StoredOutcome
from vllm_image_core.errors import BadPicture, InvalidRequest, RecordedFailure
from vllm_image_core.generation.operations import resolve_operation
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.facts import as_list
from vllm_image_core.requests.fields import REQUEST_FIELDS
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.requests.style import Style
from vllm_image_core.storage.record import facts_in
from vllm_image_core.storage.verdicts import current_path
from vllm_image_core.text import one_line

_MOST_BYTES: Final = 2**30
"""Largest image that is read back."""


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
    path = current_path(root, str(outcome.get("file")))
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


_NOT_IN_ROWS: Final = frozenset({"filename", "aspect_ratio"})
"""Fields that the path and the size say better."""


def as_row(item: BatchItem, root: Path, registry: Registry, *, is_done: bool) -> dict[str, object]:
    """Return a finished request as a row of a table, without reading its image.

    The parameters are those that were sent; for a failure or an edit, those that were requested.
    """
    request, outcome = item.request, item.outcome
    profile = registry.by_name(str(outcome.get("profile"))) if is_done else None
    sent: object = request
    if profile is not None and request.task == "generation":
        with suppress(InvalidRequest):  # a profile of another version
            sent = resolve(request, profile, draw_seed=lambda: 0)
    parameters = {
        each.name: getattr(sent, each.name, getattr(request, each.name))
        for each in REQUEST_FIELDS
        if hasattr(ImageRequest, each.name) and each.name not in _NOT_IN_ROWS
    }
    # What was sent has the words of the style already, so that the row makes the same image again.
    parameters["style"] = _style_of(request) if sent is request else None
    file = outcome.get("file")
    return {
        "index": item.position,
        "path": str(root / file) if is_done and isinstance(file, str) else None,
        **parameters,
        "seconds": outcome.get("seconds"),
        "model": outcome.get("model"),
        "server": outcome.get("server"),
        "reused": outcome.get("reused") is True,
        "error": outcome.get("error"),
        "error_kind": outcome.get("kind"),
    }


def _style_of(request: ImageRequest) -> str | None:
    """Return the name of the style that a request asked for."""
    style = request.style
    return style.name if isinstance(style, Style) else style


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
