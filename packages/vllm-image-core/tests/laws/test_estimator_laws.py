"""What holds for every estimate and every profile."""

import math

from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.estimation.estimator import estimate, recommended_concurrency
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry

REGISTRY = Registry.builtin()
profiles = st.sampled_from((*REGISTRY.profiles, REGISTRY.fallback))
sides = st.integers(16, 4096)
steps = st.integers(1, 200)
memories = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def seconds(profile: Profile, width: int, height: int, count: int, *, guided: bool) -> float:
    return estimate(
        profile, width=width, height=height, num_inference_steps=count, guided=guided
    ).seconds_per_image


@given(profile=profiles, width=sides, height=sides, one=steps, other=steps, guided=st.booleans())
def test_more_steps_never_cost_less(
    *, profile: Profile, width: int, height: int, one: int, other: int, guided: bool
) -> None:
    few, many = sorted((one, other))
    assert seconds(profile, width, height, few, guided=guided) <= seconds(
        profile, width, height, many, guided=guided
    )


@given(profile=profiles, width=sides, one=sides, other=sides, count=steps, guided=st.booleans())
def test_more_pixels_never_cost_less_time_or_memory(
    *, profile: Profile, width: int, one: int, other: int, count: int, guided: bool
) -> None:
    low, high = (
        estimate(profile, width=width, height=height, num_inference_steps=count, guided=guided)
        for height in sorted((one, other))
    )
    assert low.seconds_per_image <= high.seconds_per_image
    assert (low.peak_vram_gb or 0) <= (high.peak_vram_gb or 0)


@given(profiles, sides, sides, steps)
def test_guidance_never_costs_less(profile: Profile, width: int, height: int, count: int) -> None:
    assert seconds(profile, width, height, count, guided=False) < seconds(
        profile, width, height, count, guided=True
    )


@given(profiles, memories)
def test_the_recommended_concurrency_is_always_1_to_4(profile: Profile, total_vram_gb: float | None) -> None:
    assert 1 <= recommended_concurrency(total_vram_gb, profile) <= 4


@given(profiles, st.floats(0, 1_000), st.floats(0, 1_000))
def test_more_memory_never_recommends_less(profile: Profile, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert recommended_concurrency(less, profile) <= recommended_concurrency(more, profile)


@given(
    profile=profiles,
    width=sides,
    height=sides,
    count=steps,
    guided=st.booleans(),
    num_images=st.integers(1, 1_000),
    total_vram_gb=memories,
)
def test_no_number_of_an_estimate_is_negative_or_infinite(
    *,
    profile: Profile,
    width: int,
    height: int,
    count: int,
    guided: bool,
    num_images: int,
    total_vram_gb: float | None,
) -> None:
    result = estimate(
        profile,
        width=width,
        height=height,
        num_inference_steps=count,
        guided=guided,
        num_images=num_images,
        total_vram_gb=total_vram_gb,
    )
    assert 0 < result.seconds_per_image <= result.total_seconds < math.inf
    assert result.peak_vram_gb is None or 0 < result.peak_vram_gb < math.inf
    assert 1 <= result.recommended_concurrent <= 4
    assert result.recommended_concurrent <= recommended_concurrency(total_vram_gb, profile)
