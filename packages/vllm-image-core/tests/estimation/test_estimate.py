"""The estimate of an edit: by the steps that run, with the pictures that it starts from."""

import io
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.estimation.estimator import Estimate, estimate, estimate_edit
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import resolve_edit

REGISTRY = Registry.builtin()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (256, 128)).save(file, "PNG")
    return file.getvalue()


def estimated(model: str, **asked: object) -> Estimate:
    profile = REGISTRY.find(model).profile
    values: dict[str, Any] = {"prompt": "make it night", "images": png(), "seed": 1, **asked}
    resolved = resolve_edit(EditRequest(**values), profile, draw_seed=lambda: 1, known=REGISTRY)
    return estimate_edit(resolved, profile, total_vram_gb=80.0)


def test_an_edit_is_estimated_by_the_law_of_its_model_and_size() -> None:
    profile = REGISTRY.find("Qwen/Qwen-Image-Edit-2511").profile
    expected = estimate(
        profile, width=256, height=128, num_inference_steps=40, guided=True, total_vram_gb=80.0
    )
    assert estimated("Qwen/Qwen-Image-Edit-2511") == expected


def test_a_strength_below_1_costs_fewer_steps() -> None:
    whole, half = (
        estimated("Tongyi-MAI/Z-Image-Turbo", strength=1),
        estimated("Tongyi-MAI/Z-Image-Turbo", strength=0.5),
    )
    assert half.total_seconds < whole.total_seconds
    assert "At strength 0.5 the model runs 5 of 9 steps." in half.notes


def test_input_pictures_take_time_and_that_is_told() -> None:
    one, two = estimated("FLUX.2-klein-4B"), estimated("FLUX.2-klein-4B", images=[png(), png()])
    assert two.seconds_per_image > one.seconds_per_image
    assert any("1 input image adds pixels" in note for note in one.notes)
    assert any("2 input images add pixels" in note for note in two.notes)


def test_layers_count_as_pictures() -> None:
    two, four = (estimated("Qwen/Qwen-Image-Layered", layers=layers) for layers in (2, 4))
    assert four.total_seconds > 1.5 * two.total_seconds
    assert any("4 layers count as 4 images" in note for note in four.notes)


def test_what_the_servers_edits_took_is_what_the_next_one_is_expected_to_take() -> None:
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
