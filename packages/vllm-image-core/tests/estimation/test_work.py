import pytest
from vllm_image_core.estimation.backlog import NO_LOAD, Load
from vllm_image_core.estimation.work import Work, coefficients, memory_coefficients
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import resolve

REGISTRY = Registry.builtin()
QWEN = REGISTRY.find("Qwen-Image-2512").profile


def test_guidance_doubles_the_forward_passes() -> None:
    assert Work.at(Size(1000, 1000), 20, guided=False) == Work(megapixels=1.0, forwards=20)
    assert Work.at(Size(1000, 1000), 20, guided=True) == Work(megapixels=1.0, forwards=40)


def test_the_work_of_a_resolved_request_is_what_will_be_sent() -> None:
    request = ImageRequest(prompt="a fox", width=512, height=512, num_inference_steps=20)
    resolved = resolve(request, QWEN, draw_seed=lambda: 1)
    assert Work.of(resolved, QWEN) == Work(megapixels=0.262144, forwards=40)


def test_the_terms_are_those_of_the_law_in_the_profile() -> None:
    work = Work(megapixels=2.5, forwards=30)
    by_terms = sum(a * b for a, b in zip(coefficients(QWEN.cost), work.terms, strict=True))
    assert by_terms == pytest.approx(QWEN.cost.seconds(megapixels=2.5, forwards=30))


def test_memory_is_the_model_plus_the_pixels_of_its_images() -> None:
    assert memory_coefficients(QWEN) == (57.7, 6.8 / 1.048576)
    assert memory_coefficients(REGISTRY.fallback) is None


def test_loads_can_be_added_and_subtracted() -> None:
    one, other = Load.of(Work(megapixels=1.0, forwards=4)), Load.of(Work(megapixels=2.0, forwards=8))
    both = one + other
    assert (both.pictures, both.terms) == (2, (2.0, 3.0, 12.0, 20.0, 36.0))
    assert both - other == one
    assert (one - one) == NO_LOAD
    assert (one - both).pictures == 0


def test_edits_are_summed_separately() -> None:
    picture = Load.of(Work(megapixels=1.0, forwards=4))
    edit = Load.of(Work(megapixels=2.0, forwards=4, task="edit"))
    both = picture + edit
    assert (both.pictures, both.of_task("generation"), both.of_task("edit")) == (
        2,
        picture.terms,
        edit.edit_terms,
    )
    assert both - edit == picture
    assert (both * 2.0).of_task("edit") == tuple(2.0 * term for term in edit.edit_terms)
