"""An estimate: the seconds and the GPU memory that pictures will take, from the model's profile.

Nothing here was measured on the user's server, and every estimate says so.
"""

import math
from dataclasses import dataclass
from typing import Final

from vllm_image_core import bounds
from vllm_image_core.profile import Profile
from vllm_image_core.size import Size

GB_PER_RUNNING_PICTURE: Final = 2.0
"""Source: the project plan's rule for concurrency."""

MOST_AT_ONCE: Final = 4
"""Source: the project plan's cap, against running out of memory on consumer GPUs."""

MOST_IMAGES: Final = 1_000_000_000

BASIS: Final = "from the profile; nothing measured on this server yet; may be off by half or more"
UNKNOWN_BASIS: Final = (
    "a guess, as nothing is known of this model and nothing was measured on this server yet; "
    "may be off several times over"
)

_SQUARE: Final = Size(1024, 1024)
_FORWARDS_UNDER_GUIDANCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What pictures are expected to take.

    Attributes:
        size: Of each picture, in pixels.
        seconds_per_image: On an idle server with one NVIDIA H100, after the first picture.
        total_seconds: For all of them, one after the other, as a server makes them unless it was started
            otherwise.
        peak_vram_gb: With one picture under way, in gigabytes; None when the model's need is not known.
        recommended_concurrent: How many requests to have under way, 1 to 4.
        basis: What the estimate rests on.
        notes: What to know about it, a sentence each.
    """

    size: Size
    seconds_per_image: float
    total_seconds: float
    peak_vram_gb: float | None
    recommended_concurrent: int
    basis: str
    notes: tuple[str, ...]

    @property
    def megapixels_per_image(self) -> float:
        """Millions of pixels of each picture."""
        return self.size.megapixels


def estimate(
    profile: Profile,
    *,
    width: int,
    height: int,
    num_inference_steps: int,
    guided: bool,
    num_images: int = 1,
    total_vram_gb: float | None = None,
) -> Estimate:
    """Time, memory and concurrency for pictures of a resolved request.

    Args:
        profile: The model's.
        width: Pixels, at least 1.
        height: Pixels, at least 1.
        num_inference_steps: Denoising steps, at least 1.
        guided: Whether guidance runs a second forward pass at each step.
        num_images: How many pictures, at least 1.
        total_vram_gb: Memory of the GPU in gigabytes; None when it is not known.

    Raises:
        InvalidRequest: `num_images` is no integer or less than 1.
    """
    images = bounds.integer("num_images", num_images, 1, MOST_IMAGES, allowed="an integer from 1")
    size = Size(width, height)
    forwards = num_inference_steps * (_FORWARDS_UNDER_GUIDANCE if guided else 1)
    seconds = profile.cost.seconds(megapixels=size.megapixels, forwards=forwards)
    return Estimate(
        size=size,
        seconds_per_image=seconds,
        total_seconds=seconds * images,
        peak_vram_gb=_peak_vram_gb(profile, size),
        recommended_concurrent=_recommended(profile, size, total_vram_gb),
        basis=_basis(profile),
        notes=_notes(profile, num_inference_steps, guided=guided, size=size, total_vram_gb=total_vram_gb),
    )


def recommended_concurrency(total_vram_gb: float | None, profile: Profile) -> int:
    """How many requests to have under way: (memory of the GPU - memory of the model) / 2 GB, 1 to 4.

    1 when the GPU's memory, or the model's need, is not known. Source: the project plan.
    """
    return _at_once(total_vram_gb, profile, GB_PER_RUNNING_PICTURE)


def activation_gb(profile: Profile, size: Size) -> float:
    """GPU memory of one running picture, in gigabytes, in proportion to its pixels."""
    return profile.activation_gb_at_1024x1024 * size.pixels / _SQUARE.pixels


def _at_once(total_vram_gb: float | None, profile: Profile, gb_each: float) -> int:
    if total_vram_gb is None or profile.estimated_vram_gb is None or not math.isfinite(total_vram_gb):
        return 1
    free = max(0.0, total_vram_gb - profile.estimated_vram_gb)
    return max(1, min(MOST_AT_ONCE, math.floor(min(free / gb_each, MOST_AT_ONCE))))


def _recommended(profile: Profile, size: Size, total_vram_gb: float | None) -> int:
    """The plan's rule, and fewer where pictures of this size need more memory than it reckons with."""
    return _at_once(total_vram_gb, profile, max(GB_PER_RUNNING_PICTURE, activation_gb(profile, size)))


def _peak_vram_gb(profile: Profile, size: Size) -> float | None:
    loaded = profile.estimated_vram_gb
    return None if loaded is None else loaded + activation_gb(profile, size)


def _notes(
    profile: Profile, steps: int, *, guided: bool, size: Size, total_vram_gb: float | None
) -> tuple[str, ...]:
    return (
        f"{profile.type.capitalize()} model, {steps} steps.",
        "First generation may be slower due to torch.compile warmup.",
        *_guidance_note(guided=guided),
        f"Time and memory are {_basis(profile)}. The time is for one NVIDIA H100 and an idle server.",
        _concurrency_note(profile, size, total_vram_gb),
        *_fit_note(profile, size, total_vram_gb),
    )


def _basis(profile: Profile) -> str:
    return BASIS if profile.known else UNKNOWN_BASIS


def _guidance_note(*, guided: bool) -> tuple[str, ...]:
    return ("Guidance takes a second forward pass at each step: about twice the time.",) if guided else ()


def _concurrency_note(profile: Profile, size: Size, total_vram_gb: float | None) -> str:
    if total_vram_gb is None:
        return "1 at a time is recommended, as the GPU's memory is not known."
    if profile.estimated_vram_gb is None:
        return "1 at a time is recommended, as the model's memory need is not known."
    each = max(GB_PER_RUNNING_PICTURE, activation_gb(profile, size))
    free = max(0.0, total_vram_gb - profile.estimated_vram_gb)
    return (
        f"Concurrency: {free:.1f} GB beside the model / {each:.1f} GB a picture, at least 1, at most "
        f"{MOST_AT_ONCE}. A server runs one at a time unless it was started otherwise; the others wait."
    )


def _fit_note(profile: Profile, size: Size, total_vram_gb: float | None) -> tuple[str, ...]:
    peak = _peak_vram_gb(profile, size)
    if peak is None or total_vram_gb is None or peak <= total_vram_gb:
        return ()
    return (f"By this estimate the GPU's {total_vram_gb:.1f} GB are not enough: {peak:.1f} GB are needed.",)
