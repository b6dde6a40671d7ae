"""A row becomes a request, and the same row always becomes the same request."""

import math

import pytest
from vllm_image_core.datasets.row_request import check_columns, image_request
from vllm_image_core.errors import InvalidRequest


def test_a_row_has_the_fields_of_a_request() -> None:
    request = image_request({"prompt": "a fox", "size": "512x768", "Steps": 4, "seed": 3}, {})

    assert (request.prompt, request.width, request.height) == ("a fox", 512, 768)
    assert (request.num_inference_steps, request.seed) == (4, 3)


def test_a_row_without_a_seed_always_gets_the_same_one() -> None:
    first = image_request({"prompt": "a fox", "seed": None}, {})

    assert first.seed is not None
    assert image_request({"prompt": "a fox"}, {}) == first
    assert image_request({"prompt": "a fox", "seed": -1}, {}) == first
    assert image_request({"prompt": "a fox", "copy": 0}, {}) == first
    assert image_request({"prompt": "a fox", "copy": 1}, {}).seed != first.seed
    assert image_request({"prompt": "a bear"}, {}).seed != first.seed


def test_defaults_fill_in_what_a_row_does_not_set() -> None:
    defaults = {"size": "512x512", "num_inference_steps": 4}

    assert image_request({"prompt": "a fox"}, defaults).width == 512
    own = image_request({"prompt": "a fox", "aspect_ratio": "16:9", "num_inference_steps": 8}, defaults)
    assert (own.width, own.aspect_ratio, own.num_inference_steps) == (None, "16:9", 8)


def test_numbers_with_gaps_are_integers_again() -> None:
    request = image_request({"prompt": "a fox", "width": 512.0, "height": math.nan}, {})

    assert (request.width, request.height) == (512, None)
    assert type(request.width) is int


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["prompt", "colour"], "'colour' is not a parameter of an image. Allowed columns: prompt"),
        (["prompt", "filename"], "filename is not used here"),
        (["prompt", "sampler"], "vLLM-Omni offers no choice of sampler"),
        (["seed"], "There is no column prompt"),
        (["prompt", "steps", "num_inference_steps"], "Two columns mean num_inference_steps"),
    ],
)
def test_other_columns_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_columns(names)

    assert message in str(refusal.value)


def test_a_copy_must_be_a_count() -> None:
    with pytest.raises(InvalidRequest, match=r"copy: -1 is out of range"):
        image_request({"prompt": "a fox", "copy": -1}, {})
