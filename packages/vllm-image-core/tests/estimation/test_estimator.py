import io
import math
import re
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.estimation.backlog import ServerSpeed
from vllm_image_core.estimation.estimator import (
    Estimate,
    estimate,
    estimate_edit,
    gb_per_image,
    misfit,
    recommended_concurrency,
)
from vllm_image_core.estimation.predictor import GB_PER_MIB, Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import resolve_edit

REGISTRY = Registry.builtin()
KLEIN = REGISTRY.find("FLUX.2-klein-4B").profile
QWEN = REGISTRY.find("Qwen-Image-2512").profile


def estimated(
    profile: Profile = KLEIN,
    side: int = 1024,
    *,
    guided: bool = False,
    num_images: int = 1,
    total_vram_gb: float | None = None,
) -> Estimate:
    return estimate(
        profile,
        width=side,
        height=side,
        num_inference_steps=profile.default_steps,
        guided=guided,
        num_images=num_images,
        total_vram_gb=total_vram_gb,
    )


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (256, 128)).save(file, "PNG")
    return file.getvalue()


def estimated_edit(model: str, **asked: object) -> Estimate:
    profile = REGISTRY.find(model).profile
    values: dict[str, Any] = {"prompt": "make it night", "images": png(), "seed": 1, **asked}
    resolved = resolve_edit(EditRequest(**values), profile, draw_seed=lambda: 1, known=REGISTRY)
    return estimate_edit(resolved, profile, total_vram_gb=80.0)


def test_an_estimate_states_its_basis_and_the_note_of_the_plan() -> None:
    result = estimated()
    assert result.basis == "nothing measured yet: from the profile, may be off by half"
    assert " ".join(result.notes).startswith(
        "Distilled model, 4 steps. First generation may be slower due to torch.compile warmup."
    )
    assert any(result.basis in note and "NVIDIA H100" in note for note in result.notes)
    assert (result.measured, result.memory_basis) == (False, "from the profile")


def test_an_estimate_for_an_unknown_model_says_that_it_is_a_guess() -> None:
    result = estimated(REGISTRY.fallback, guided=True, total_vram_gb=80.0)
    assert result.basis.startswith("nothing measured yet: a guess, because this model is unknown")
    assert (result.peak_vram_gb, result.recommended_concurrent) == (None, 1)


def measured(seconds: float, *, count: int = 23, peak_gb: float | None = None) -> Predictor:
    """A server that has generated this many images of 1024x1024 in 4 steps."""
    predictor = Predictor(KLEIN)
    for _ in range(count):
        peak = None if peak_gb is None else peak_gb / GB_PER_MIB
        predictor.observe(Work.at(Size(1024, 1024), 4, guided=False), seconds, peak_mib=peak)
    return predictor


def test_a_measured_server_is_trusted_and_no_gpu_is_invented() -> None:
    result = estimate(
        KLEIN, width=1024, height=1024, num_inference_steps=4, guided=False, predictor=measured(3.0)
    )
    assert result.seconds_per_image == pytest.approx(3.0)
    assert (result.measured, result.basis) == (True, "23 images on this server, off by 1 % on the last 20")
    assert f"Time: {result.basis}." in result.notes
    assert not any("H100" in note for note in result.notes)
    assert not any(result.basis in note or result.memory_basis in note for note in result.other_notes)
    assert result._repr_html_().count(result.basis) == 1


def test_what_a_note_adds_to_the_basis_stays_a_note() -> None:
    result = estimate(KLEIN, width=1024, height=1024, num_inference_steps=4, guided=False)
    assert not any(result.basis in note for note in result.other_notes)
    assert "The profile's time is for one NVIDIA H100." in result.other_notes


def test_the_memory_that_the_server_reports_is_trusted() -> None:
    result = estimate(
        KLEIN,
        width=1024,
        height=1024,
        num_inference_steps=4,
        guided=False,
        total_vram_gb=24.0,
        predictor=measured(3.0, peak_gb=30.0),
    )
    assert result.peak_vram_gb == pytest.approx(30.0)
    assert result.memory_basis == "measured by the server during 23 images"
    assert any("does not fit on this GPU: it needs about" in note for note in result.notes)


def test_the_queue_counts_for_the_completion_time_but_not_for_the_images() -> None:
    result = estimate(
        KLEIN,
        width=1024,
        height=1024,
        num_inference_steps=4,
        guided=False,
        num_images=2,
        predictor=measured(3.0),
        requests_ahead=3,
    )
    assert (result.total_seconds, result.queue_seconds) == (pytest.approx(6.0), pytest.approx(9.0))
    assert result.completion_seconds == pytest.approx(15.0)
    assert "3 requests are ahead at the server; all are done in about 15 s." in result.notes


def test_the_queue_of_an_unmeasured_server_is_assumed_to_be_of_similar_images() -> None:
    result = estimate(KLEIN, width=1024, height=1024, num_inference_steps=4, guided=False, requests_ahead=1)
    assert result.queue_seconds == pytest.approx(result.seconds_per_image)
    assert any(note.startswith("1 request is ahead at the server; all are done in") for note in result.notes)


@pytest.mark.parametrize("ahead", [None, 0])
def test_an_idle_server_and_one_that_reports_no_queue_have_none(ahead: int | None) -> None:
    result = estimate(
        KLEIN, width=1024, height=1024, num_inference_steps=4, guided=False, requests_ahead=ahead
    )
    assert (result.requests_ahead, result.completion_seconds) == (ahead, result.total_seconds)
    assert not any("ahead" in note for note in result.notes)


def test_times_are_in_the_range_that_the_plan_expects() -> None:
    assert 0.3 < estimated().seconds_per_image < 2
    assert 5 < estimated(QWEN, guided=True).seconds_per_image < 30


def test_images_are_generated_one_after_another() -> None:
    assert estimated(num_images=5).total_seconds == pytest.approx(5 * estimated().seconds_per_image)


def test_guidance_doubles_the_time_and_a_note_says_so() -> None:
    plain, guided = estimated(QWEN), estimated(QWEN, guided=True)
    assert 1.9 < guided.seconds_per_image / plain.seconds_per_image < 2
    assert any("second forward pass" in note for note in guided.notes)
    assert not any("second forward pass" in note for note in plain.notes)


def test_the_peak_is_the_model_and_one_running_image() -> None:
    assert estimated().peak_vram_gb == 18.0
    assert estimated(side=512).peak_vram_gb == 16.5


def test_megapixels_match_the_example_of_the_plan() -> None:
    assert round(estimated().megapixels_per_image, 2) == 1.05


@pytest.mark.parametrize(
    ("total_vram_gb", "at_once"),
    [
        (32.0, 4),
        (23.9, 3),
        (20.0, 2),
        (19.9, 1),
        (18.0, 1),
        (16.0, 1),
        (8.0, 1),
        (0.0, 1),
        (80.0, 4),
        (1e308, 4),
        (None, 1),
        (math.nan, 1),
        (-5.0, 1),
    ],
)
def test_concurrency_follows_the_plan_s_rule(total_vram_gb: float | None, at_once: int) -> None:
    assert recommended_concurrency(total_vram_gb, KLEIN) == at_once
    assert estimated(total_vram_gb=total_vram_gb).recommended_concurrent == at_once


def test_concurrency_is_lower_for_images_that_need_more_memory_than_the_rule_assumes() -> None:
    assert recommended_concurrency(27.0, KLEIN) == 4
    assert estimated(side=2000, total_vram_gb=24.0).recommended_concurrent == 1
    assert estimated(side=256, total_vram_gb=24.0).recommended_concurrent == 4


def with_peaks(*, model_gb: float, gb_per_megapixel: float) -> Predictor:
    """A server whose memory peaks are known."""
    predictor = Predictor(KLEIN)
    for megapixels in (0.25, 0.5, 1.0, 2.0) * 5:
        peak = (model_gb + gb_per_megapixel * megapixels) / GB_PER_MIB
        predictor.observe(Work(megapixels=megapixels, forwards=4), 1.0, peak_mib=peak)
    return predictor


def test_measured_memory_decides_how_many_run_at_once() -> None:
    needs_more = with_peaks(model_gb=18.0, gb_per_megapixel=1.0)
    assert recommended_concurrency(27.0, KLEIN) == 4
    assert recommended_concurrency(24.0, KLEIN, needs_more) == 3
    assert recommended_concurrency(24.0, KLEIN, with_peaks(model_gb=13.0, gb_per_megapixel=5.0)) == 2
    assert recommended_concurrency(24.0, KLEIN, Predictor(KLEIN)) == 4
    told = estimate(
        KLEIN,
        width=1024,
        height=1024,
        num_inference_steps=4,
        guided=False,
        total_vram_gb=24.0,
        predictor=needs_more,
    )
    assert told.recommended_concurrent == 3
    assert told.peak_vram_gb == pytest.approx(19.05, rel=0.02)
    assert any(re.search(r"[56]\.\d GB left by the model", note) for note in told.notes)


def test_the_concurrency_is_explained() -> None:
    assert any(
        "8.0 GB left by the model / 2.0 GB per image" in note for note in estimated(total_vram_gb=24.0).notes
    )
    assert any("the GPU's memory is not known" in note for note in estimated().notes)


def test_a_gpu_that_is_too_small_is_reported() -> None:
    small = " ".join(estimated(total_vram_gb=12.0).notes)
    assert (
        "FLUX.2-klein-4B does not fit on this GPU: it needs about 16.0 GB of memory, but the GPU has "
        "12.0 GB. Use a larger GPU or several, a quantised checkpoint, or vLLM-Omni's --enable-cpu-offload."
    ) in small
    almost = " ".join(estimated(total_vram_gb=17.9).notes)
    assert "does not fit on this GPU: with an image in progress it needs about 18.0 GB" in almost
    assert not any("does not fit" in note for note in estimated(total_vram_gb=18.0).notes)
    assert not any("does not fit" in note for note in estimated().notes)


@pytest.mark.parametrize(
    ("model", "weights", "image"),
    [
        ("Tongyi-MAI/Z-Image-Turbo", 20.6, 6.0),
        ("Qwen/Qwen-Image", 57.7, 6.8),
        ("Qwen/Qwen-Image-2512", 57.7, 6.8),
        ("black-forest-labs/FLUX.2-klein-9B", 34.7, 5.2),
        ("black-forest-labs/FLUX.2-klein-4B", 16.0, 2.0),
    ],
)
def test_an_image_needs_the_peak_minus_the_weights_if_these_are_known(
    model: str, weights: float, image: float
) -> None:
    profile = REGISTRY.find(model).profile
    assert (profile.estimated_vram_gb, gb_per_image(profile)) == (weights, image)
    for at_once in (1, 2, 3, 4):
        assert recommended_concurrency(weights + at_once * image + 0.1, profile) == at_once
    assert recommended_concurrency(weights - 1, profile) == 1
    assert misfit(profile, weights - 1)
    assert misfit(profile, weights + image - 0.1)
    assert not misfit(profile, weights + image + 0.1)
    assert not misfit(profile, None)


@pytest.mark.parametrize("num_images", [0, -1, True, 2.0, "3"])
def test_an_invalid_number_of_images_is_refused(num_images: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        estimated(num_images=num_images)
    assert caught.value.parameter == "num_images"


@pytest.mark.parametrize(
    ("num_images", "ahead", "seconds", "queue"),
    [(1, 0, 1.0, 0.0), (2, 0, 2.0, 0.0), (7, 7, 4.0, 4.0), (700, 0, 400.0, 0.0)],
)
def test_several_servers_share_the_images_according_to_their_speeds(
    num_images: int, ahead: int, seconds: float, queue: float
) -> None:
    result = estimate(
        KLEIN,
        width=1024,
        height=1024,
        num_inference_steps=4,
        guided=False,
        num_images=num_images,
        requests_ahead=ahead,
        speeds=[ServerSpeed(predictor=measured(each)) for each in (1.0, 2.0, 4.0)],
    )
    assert result.seconds_per_image == pytest.approx(1.0)
    assert (result.total_seconds, result.queue_seconds) == (
        pytest.approx(seconds, rel=1e-5),
        pytest.approx(queue),
    )
    assert result.basis.startswith("69 images on 3 of 3 servers")
    assert f"Time: {result.basis}." in result.notes


def test_several_servers_count_as_measured_only_if_all_are() -> None:
    speeds = [ServerSpeed(predictor=measured(1.0)), ServerSpeed(predictor=Predictor(KLEIN))]
    result = estimate(
        KLEIN, width=1024, height=1024, num_inference_steps=4, guided=False, num_images=10, speeds=speeds
    )
    assert not result.measured
    assert "on 1 of 2 servers" in result.basis


def test_an_edit_is_estimated_by_the_law_of_its_model_and_size() -> None:
    profile = REGISTRY.find("Qwen/Qwen-Image-Edit-2511").profile
    expected = estimate(
        profile, width=256, height=128, num_inference_steps=40, guided=True, total_vram_gb=80.0
    )
    assert estimated_edit("Qwen/Qwen-Image-Edit-2511") == expected


def test_a_strength_below_1_costs_fewer_steps() -> None:
    whole, half = (
        estimated_edit("Tongyi-MAI/Z-Image-Turbo", strength=1),
        estimated_edit("Tongyi-MAI/Z-Image-Turbo", strength=0.5),
    )
    assert half.total_seconds < whole.total_seconds
    assert "At strength 0.5 the model runs 5 of 9 steps." in half.notes


def test_input_images_take_time_and_a_note_says_so() -> None:
    one, two = estimated_edit("FLUX.2-klein-4B"), estimated_edit("FLUX.2-klein-4B", images=[png(), png()])
    assert two.seconds_per_image > one.seconds_per_image
    assert any("1 input image adds pixels" in note for note in one.notes)
    assert any("2 input images add pixels" in note for note in two.notes)


def test_layers_count_as_images() -> None:
    two, four = (estimated_edit("Qwen/Qwen-Image-Layered", layers=layers) for layers in (2, 4))
    assert four.total_seconds > 1.5 * two.total_seconds
    assert any("4 layers count as 4 images" in note for note in four.notes)


def test_measured_edits_of_a_server_predict_the_next_one() -> None:
    profile = REGISTRY.find("FLUX.2-klein-4B").profile
    resolved = resolve_edit(
        EditRequest(prompt="make it night", images=png(), seed=1), profile, draw_seed=lambda: 1
    )
    predictor = Predictor(profile)
    predictor.observe(Work.of(resolved, profile), 7.0)
    told = estimate_edit(resolved, profile, predictor=predictor, requests_ahead=2)
    assert told.seconds_per_image == pytest.approx(7.0)
    assert told.completion_seconds == pytest.approx(21.0)
    assert told.measured
