"""Save the layers of an image that a model split, each as a separate file next to the first one."""

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
from vllm_image_core.provenance.recipe import write_recipe
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.resolver import ResolvedRequest
from vllm_image_core.storage.library import Library

_STEM_BYTES: Final = 100
_OF_THE_FIRST: Final = frozenset({"key", "receipt"})
"""Facts that only the first layer's file has: it represents all of them when the request is repeated."""


def with_layers(
    image: GeneratedImage,
    reply: ImageGenerationReply,
    library: Library,
    *,
    facts: Mapping[str, object],
    metadata: Metadata,
    now: datetime,
) -> GeneratedImage:
    """Save the layers after the first one, and return the image with their paths; blocks on the disk.

    A layer that cannot be saved becomes a note; the others are saved.

    Args:
        image: The first layer, already saved. The names of the others follow from its name.
        reply: The server's reply.
        library: The folder.
        facts: The facts about the first layer.
        metadata: What to write into the files.
        now: The local time.
    """
    if image.request.layer_count is None:
        return image
    shared = {name: fact for name, fact in facts.items() if name not in _OF_THE_FIRST}
    paths: list[Path] = []
    notes: list[str] = []
    for number, one in enumerate(reply.data[1:], 2):
        layer_facts = {**shared, "layer": number}
        try:
            layer = Picture.check(one.bytes, max_pixels=2 * image.picture.size.pixels)
            layer = write_recipe(
                layer, image.request, model=image.model, facts=layer_facts, metadata=metadata
            )
            saved = library.save(
                layer, layer_facts, prompt=image.request.prompt, now=now, filename=_name(image.path, number)
            )
        except ImageError as error:
            notes.append(f"Layer {number} was not saved: {error.message}")
        else:
            paths.append(saved.path)
            notes.extend(saved.notes)
    return replace(image, layers=tuple(paths), notes=(*notes, *image.notes))


def existing_layers(first: Path, resolved: ResolvedRequest) -> tuple[Path, ...]:
    """Return the paths of the further layers of an existing image, as far as the files still exist."""
    names = (_name(first, number) for number in range(2, (resolved.layer_count or 0) + 1))
    paths = (first.with_name(f"{name}{first.suffix}") for name in names)
    return tuple(path for path in paths if os.path.isfile(path))  # noqa: PTH113 - a Path raises where it may not look


def _name(first: Path, number: int) -> str:
    stem = first.stem.encode()[:_STEM_BYTES].decode(errors="ignore")
    return f"{stem}_layer{number}"
