"""The layers of a picture that was taken apart: each a file of its own beside the first."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.errors import ImageError
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import with_recipe
from vllm_image_core.requests.edit_resolver import ResolvedEdit
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.resolver import ResolvedRequest
from vllm_image_core.storage.library import Library

__all__ = ["layers_asked", "layers_beside", "with_layers"]

_STEM_BYTES: Final = 100
_OF_THE_FIRST: Final = frozenset({"key", "receipt"})
"""What the first picture alone tells: it stands for all of them when the same is asked for again."""


def layers_asked(resolved: ResolvedRequest) -> int | None:
    """How many layers are meant to come; None for a picture that is not taken apart."""
    return resolved.layers if isinstance(resolved, ResolvedEdit) else None


def with_layers(
    image: GeneratedImage,
    reply: ImageGenerationReply,
    library: Library,
    *,
    facts: Mapping[str, object],
    metadata: Metadata,
    now: datetime,
) -> GeneratedImage:
    """The picture with the layers after it saved, too; waits for the disk.

    One that cannot be saved is told of, and does not take the others away.

    Args:
        image: The first layer, saved. The names of the others follow from its name.
        reply: What the server sent.
        library: The folder.
        facts: How the first was made.
        metadata: What is written into the files.
        now: The local time.
    """
    if layers_asked(image.request) is None:
        return image
    shared = {name: fact for name, fact in facts.items() if name not in _OF_THE_FIRST}
    paths: list[Path] = []
    notes: list[str] = []
    for number, one in enumerate(reply.data[1:], 2):
        told = {**shared, "layer": number}
        try:
            layer = Picture.check(one.bytes, max_pixels=2 * image.picture.size.pixels)
            layer = with_recipe(layer, image.request, model=image.model, facts=told, metadata=metadata)
            saved = library.save(
                layer, told, prompt=image.request.prompt, now=now, filename=_name(image.path, number)
            )
        except ImageError as error:
            notes.append(f"Layer {number} was not saved: {error.message}")
        else:
            paths.append(saved.path)
            notes.extend(saved.notes)
    return replace(image, layers=tuple(paths), notes=(*notes, *image.notes))


def layers_beside(first: Path, resolved: ResolvedRequest) -> tuple[Path, ...]:
    """The further layers of a picture that is there already, as far as they still are."""
    names = (_name(first, number) for number in range(2, (layers_asked(resolved) or 0) + 1))
    paths = (first.with_name(f"{name}{first.suffix}") for name in names)
    return tuple(path for path in paths if os.path.isfile(path))  # noqa: PTH113 - a Path raises where it may not look


def _name(first: Path, number: int) -> str:
    stem = first.stem.encode()[:_STEM_BYTES].decode(errors="ignore")
    return f"{stem}_layer{number}"
