"""Work: measure what an image costs a GPU, in megapixels and forward passes."""

from dataclasses import dataclass
from typing import Final

from vllm_image_core.estimation.cost_model import Terms
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import CostLaw, Profile
from vllm_image_core.requests.image_request import Task
from vllm_image_core.requests.resolver import ResolvedRequest

TASKS: Final[tuple[Task, ...]] = ("generation", "edit")
"""What a server does; each task has its own cost model, of the same form."""

_FORWARDS_UNDER_GUIDANCE: Final = 2

_MOST_INPUT_MEGAPIXELS: Final = Size(1024, 1024).megapixels
"""Larger inputs are scaled down to this first (source: vLLM-Omni 0.30.0, the pipelines of FLUX.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work of one image.

    Attributes:
        megapixels: Millions of pixels; for an edit, including those of its input images.
        forwards: Forward passes of the transformer: the steps, or twice as many with guidance.
        task: Whether it is generated from text alone, or edits images.
    """

    megapixels: float
    forwards: int
    task: Task = "generation"

    @classmethod
    def of(cls, resolved: ResolvedRequest, profile: Profile) -> "Work":
        """The work of a resolved request.

        In an edit, the transformer processes the pixels of each input along with those of the result, in
        each pass. The cost law of a model that can only edit already includes the first input. If an image
        is split into layers, each layer counts as an image.
        """
        steps = resolved.steps_run * (resolved.layer_count or 1)
        result = cls.at(resolved.size, steps, guided=resolved.guided)
        if resolved.task == "generation":
            return result
        inputs = [one.picture.size.megapixels for role, one in resolved.inputs_by_role if role != "mask"]
        counted = inputs if profile.text_to_image else inputs[1:]
        more = sum(min(_MOST_INPUT_MEGAPIXELS, megapixels) for megapixels in counted)
        return cls(megapixels=result.megapixels + more, forwards=result.forwards, task=resolved.task)

    @classmethod
    def at(cls, size: Size, num_inference_steps: int, *, guided: bool) -> "Work":
        """The work of an image with this size and number of steps."""
        forwards = num_inference_steps * (_FORWARDS_UNDER_GUIDANCE if guided else 1)
        return cls(megapixels=size.megapixels, forwards=forwards)

    @property
    def terms(self) -> Terms:
        """The factors of the coefficients of a `CostLaw`, in its order."""
        megapixels, forwards = self.megapixels, float(self.forwards)
        step = forwards * megapixels
        return 1.0, megapixels, forwards, step, step * megapixels

    @property
    def memory_terms(self) -> Terms:
        """The same for memory: 1 for the loaded model, and the image's megapixels."""
        return 1.0, self.megapixels


def coefficients(cost: CostLaw) -> Terms:
    """The coefficients of a profile's cost law, in the order of `Work.terms`."""
    return (
        cost.fixed_seconds,
        cost.seconds_per_megapixel,
        cost.step_seconds,
        cost.step_seconds_per_megapixel,
        cost.step_seconds_per_megapixel_squared,
    )


def memory_coefficients(profile: Profile) -> Terms | None:
    """Gigabytes for the loaded model and per megapixel; None if the model's need is unknown."""
    if profile.estimated_vram_gb is None:
        return None
    return profile.estimated_vram_gb, activation_gb_per_megapixel(profile)


def activation_gb_per_megapixel(profile: Profile) -> float:
    """Gigabytes per megapixel of an image in progress, from the profile."""
    return profile.activation_gb_at_1024x1024 / Size(1024, 1024).megapixels
