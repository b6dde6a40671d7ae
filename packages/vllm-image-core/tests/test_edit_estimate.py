"""The estimate of an edit: by the steps that run, with a word on what the law does not count."""

import io
from typing import Any

from PIL import Image
from vllm_image_core.edit import EditRequest
from vllm_image_core.edit_estimate import estimate_edit
from vllm_image_core.edit_resolver import resolve_edit
from vllm_image_core.estimator import Estimate, estimate
from vllm_image_core.registry import Registry

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


def test_what_the_law_does_not_count_is_told() -> None:
    assert any("does not count 1 input picture:" in note for note in estimated("FLUX.2-klein-4B").notes)
    two = estimated("Qwen/Qwen-Image-Edit-2511", images=[png(), png()])
    assert any("does not count 1 input picture:" in note for note in two.notes)
    assert any("4 layers take several times" in note for note in estimated("Qwen/Qwen-Image-Layered").notes)
