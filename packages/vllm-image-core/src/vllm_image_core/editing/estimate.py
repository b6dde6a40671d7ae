"""The estimate of an edit: by the steps that run, with the pictures that it starts from."""

from collections.abc import Iterator
from dataclasses import replace

from vllm_image_core.editing.resolver import ResolvedEdit
from vllm_image_core.editing.work import edit_work
from vllm_image_core.estimates.predictor import Predictor
from vllm_image_core.estimator import Estimate, estimate
from vllm_image_core.profile import Profile

__all__ = ["estimate_edit"]


def estimate_edit(
    resolved: ResolvedEdit,
    profile: Profile,
    *,
    total_vram_gb: float | None = None,
    predictor: Predictor | None = None,
    requests_ahead: int | None = None,
) -> Estimate:
    """Time and memory of one edit.

    Args:
        resolved: The checked edit.
        profile: The model's.
        total_vram_gb: Memory of the GPU in gigabytes; None when it is not known.
        predictor: What is known of the server's edits; None for the profile alone.
        requests_ahead: Requests that the server has now, running and waiting; None when it is not known.
    """
    expected = estimate(
        profile,
        width=resolved.width,
        height=resolved.height,
        num_inference_steps=resolved.steps_run,
        guided=resolved.guided,
        total_vram_gb=total_vram_gb,
        predictor=predictor,
        requests_ahead=requests_ahead,
        work=edit_work(resolved, profile),
    )
    return replace(expected, notes=(*expected.notes, *_notes(resolved, profile)))


def _notes(resolved: ResolvedEdit, profile: Profile) -> Iterator[str]:
    if resolved.steps_run != resolved.num_inference_steps:
        run = f"{resolved.steps_run} of {resolved.num_inference_steps} steps"
        yield f"At strength {resolved.strength:g} the model runs {run}."
    more = len(resolved.inputs.images) - (0 if profile.text_to_image else 1)
    if more > 0:
        pictures = "1 input picture counts" if more == 1 else f"{more} input pictures count"
        yield f"{pictures} as further pixels, which the model sees in each step."
    if resolved.layers is not None:
        yield f"{resolved.layers} layers count as as many pictures."
