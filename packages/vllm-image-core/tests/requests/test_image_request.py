from dataclasses import FrozenInstanceError, asdict

import pytest
from vllm_image_core.requests.image_request import ImageRequest


def test_a_request_needs_a_prompt_and_leaves_the_rest_to_the_model() -> None:
    given = {
        name: value for name, value in asdict(ImageRequest(prompt="a red fox")).items() if value is not None
    }
    assert given == {"prompt": "a red fox", "seed_drawn": False}


def test_a_request_does_not_change() -> None:
    request = ImageRequest(prompt="a red fox")
    with pytest.raises(FrozenInstanceError):
        request.seed = 7  # type: ignore[misc] -- the point of the test


def test_a_request_is_a_value() -> None:
    assert {ImageRequest(prompt="a", seed=1), ImageRequest(prompt="a", seed=1)} == {
        ImageRequest(prompt="a", seed=1)
    }


def test_i11_a_parameter_that_a_request_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="steps"):
        ImageRequest(prompt="a fox", steps=4)  # type: ignore[call-arg] -- the point of the test
