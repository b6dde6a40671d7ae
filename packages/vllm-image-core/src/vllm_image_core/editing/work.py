"""What an edit asks of a GPU: the work of its picture, and of the pictures that it starts from."""

from typing import Final

from vllm_image_core.editing.resolver import ResolvedEdit
from vllm_image_core.estimates.work import Work
from vllm_image_core.parameters.size import Size
from vllm_image_core.profile import Profile
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["edit_work", "work_of"]

_MOST_MEGAPIXELS: Final = Size(1024, 1024).megapixels
"""A larger input is made so small first (source: vLLM-Omni 0.30.0, the pipelines of FLUX.2)."""


def work_of(resolved: ResolvedRequest, profile: Profile) -> Work:
    """The work of a resolved request, a generation or an edit."""
    return edit_work(resolved, profile) if isinstance(resolved, ResolvedEdit) else Work.of(resolved)


def edit_work(resolved: ResolvedEdit, profile: Profile) -> Work:
    """The work of a resolved edit.

    The transformer sees the pixels of each input beside those of the result, in each pass. The law of a
    model that only edits reckons with the first input already. Each layer of a picture that is taken apart
    counts as a picture.
    """
    inputs = [one.picture.size for one in resolved.inputs.images]
    if resolved.inputs.reference_image is not None:
        inputs.append(resolved.inputs.reference_image.picture.size)
    counted = inputs if profile.text_to_image else inputs[1:]
    beside = sum(min(_MOST_MEGAPIXELS, size.megapixels) for size in counted)
    steps = resolved.steps_run * (resolved.layers or 1)
    base = Work.at(resolved.size, steps, guided=resolved.guided)
    return Work(megapixels=base.megapixels + beside, forwards=base.forwards, task="edit")
