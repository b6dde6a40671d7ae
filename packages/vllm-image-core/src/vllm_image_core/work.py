"""Work: what a picture asks of a GPU, as far as its time and memory depend on it."""

from dataclasses import dataclass
from typing import Final

from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.fit import Terms
from vllm_image_core.profile import CostLaw, Profile
from vllm_image_core.resolver import ResolvedRequest
from vllm_image_core.size import Size

__all__ = [
    "NO_LOAD",
    "Load",
    "Work",
    "activation_gb_per_megapixel",
    "coefficients",
    "memory_coefficients",
]

_FORWARDS_UNDER_GUIDANCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One picture.

    Attributes:
        megapixels: Millions of pixels.
        forwards: Forward passes of the transformer: the steps, twice that under guidance.
    """

    megapixels: float
    forwards: int

    @classmethod
    def of(cls, resolved: ResolvedRequest) -> "Work":
        """The work of a resolved request."""
        return cls.at(resolved.size, resolved.num_inference_steps, guided=resolved.guided)

    @classmethod
    def at(cls, size: Size, num_inference_steps: int, *, guided: bool) -> "Work":
        """The work of a picture of this size with so many steps."""
        forwards = num_inference_steps * (_FORWARDS_UNDER_GUIDANCE if guided else 1)
        return cls(megapixels=size.megapixels, forwards=forwards)

    @classmethod
    def sent(cls, request: ImageGenerationRequest, profile: Profile) -> "Work":
        """The work of a request as it is sent, one that a resolved request made for this profile.

        Raises:
            ValueError: It has no size, and is none of ours.
        """
        width, _, height = (request.size or "").partition("x")
        in_its_field = {"guidance_scale": request.guidance_scale, "true_cfg_scale": request.true_cfg_scale}
        guided = profile.guided(in_its_field[profile.guidance_field] or 0.0)
        steps = request.num_inference_steps or profile.default_steps
        return cls.at(Size(int(width), int(height)), steps, guided=guided)

    @property
    def terms(self) -> Terms:
        """What the coefficients of a `CostLaw` are multiplied with, in its order."""
        megapixels, forwards = self.megapixels, float(self.forwards)
        step = forwards * megapixels
        return 1.0, megapixels, forwards, step, step * megapixels

    @property
    def memory_terms(self) -> Terms:
        """The same for memory: one for the loaded model, and the picture's megapixels."""
        return 1.0, self.megapixels


def coefficients(cost: CostLaw) -> Terms:
    """The coefficients of a profile's law, in the order of `Work.terms`."""
    return (
        cost.fixed_seconds,
        cost.seconds_per_megapixel,
        cost.step_seconds,
        cost.step_seconds_per_megapixel,
        cost.step_seconds_per_megapixel_squared,
    )


def memory_coefficients(profile: Profile) -> Terms | None:
    """Gigabytes of the loaded model and of each megapixel; None where the model's need is not known."""
    if profile.estimated_vram_gb is None:
        return None
    return profile.estimated_vram_gb, activation_gb_per_megapixel(profile)


def activation_gb_per_megapixel(profile: Profile) -> float:
    """Gigabytes that each megapixel of a running picture takes, by the profile."""
    return profile.activation_gb_at_1024x1024 / Size(1024, 1024).megapixels


@dataclass(frozen=True, slots=True)
class Load:
    """The work of some pictures together. A law is linear, so their sum is all that it needs.

    Attributes:
        terms: The sum of their terms.
        pictures: How many they are.
    """

    terms: Terms
    pictures: int

    @classmethod
    def of(cls, work: Work) -> "Load":
        """The load of one picture."""
        return cls(work.terms, 1)

    def __add__(self, other: "Load") -> "Load":
        return Load(
            tuple(a + b for a, b in zip(self.terms, other.terms, strict=True)), self.pictures + other.pictures
        )

    def __mul__(self, factor: float) -> "Load":
        """So many times this; the number of pictures rounded."""
        return Load(tuple(factor * term for term in self.terms), round(factor * self.pictures))

    def __sub__(self, other: "Load") -> "Load":
        """What is left without the other, which is part of this; never below nothing."""
        return Load(
            tuple(max(0.0, a - b) for a, b in zip(self.terms, other.terms, strict=True)),
            max(0, self.pictures - other.pictures),
        )


NO_LOAD: Final = Load((0.0,) * 5, 0)
"""The load of no picture."""
