"""The estimate of an edit: the profile's cost law over the steps that run, and what it does not count."""

from collections.abc import Iterator
from dataclasses import replace

from vllm_image_core.edit_resolver import ResolvedEdit
from vllm_image_core.estimator import Estimate, estimate
from vllm_image_core.profile import Profile

__all__ = ["estimate_edit"]


def estimate_edit(
    resolved: ResolvedEdit, profile: Profile, *, total_vram_gb: float | None = None
) -> Estimate:
    """Time and memory of one edit.

    The law of a model that only edits reckons with one input picture; that of a model that also generates
    reckons with none. The notes say what comes on top.

    Args:
        resolved: The checked edit.
        profile: The model's.
        total_vram_gb: Memory of the GPU in gigabytes; None when it is not known.
    """
    expected = estimate(
        profile,
        width=resolved.width,
        height=resolved.height,
        num_inference_steps=resolved.steps_run,
        guided=resolved.guided,
        total_vram_gb=total_vram_gb,
    )
    return replace(expected, notes=(*expected.notes, *_notes(resolved, profile)))


def _notes(resolved: ResolvedEdit, profile: Profile) -> Iterator[str]:
    if resolved.steps_run != resolved.num_inference_steps:
        run = f"{resolved.steps_run} of {resolved.num_inference_steps} steps"
        yield f"At strength {resolved.strength:g} the model runs {run}."
    uncounted = len(resolved.inputs.images) - (0 if profile.text_to_image else 1)
    if uncounted > 0:
        pictures = "1 input picture" if uncounted == 1 else f"{uncounted} input pictures"
        yield f"The law does not count {pictures}: each takes up to the time of the picture itself again."
    if resolved.layers is not None:
        yield f"The law is that of one picture; {resolved.layers} layers take several times as long."
