"""An edit has the bounds that the server does not check, and is sent as a form."""

import pytest
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.models import Lora


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 11),
        ("num_inference_steps", 0),
        ("num_inference_steps", 201),
        ("guidance_scale", 20.1),
        ("guidance_scale_2", -0.1),
        ("true_cfg_scale", float("nan")),
        ("strength", 1.1),
        ("seed", True),
        ("seed", 2**63),
        ("layers", 1),
        ("resolution", 512),
        ("response_format", "file"),
        ("output_format", "gif"),
        ("size", "AUTO"),
        ("prompt", "x" * (1024 * 1024 + 1)),
        ("prompt", "\ud800"),
        ("stream", True),
    ],
)
def test_a_value_that_is_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        ImageEditRequest.model_validate({"prompt": "x", field: value})
    assert caught.value.parameter == field


def test_a_size_and_a_resolution_exclude_each_other() -> None:
    with pytest.raises(InvalidParameter, match="cannot be used together"):
        ImageEditRequest(prompt="x", size="64x64", resolution=640)
    assert ImageEditRequest(prompt="x", size="auto", resolution=640).resolution == 640


def test_only_requested_fields_are_in_the_form() -> None:
    request = ImageEditRequest(
        prompt="blue",
        strength=0.5,
        seed=-1,
        return_stage_metrics=True,
        lora=Lora(name="ink", path="/loras/ink"),
    )
    assert request.to_form() == [
        ("prompt", "blue"),
        ("n", "1"),
        ("strength", "0.5"),
        ("seed", "-1"),
        ("return_stage_metrics", "true"),
        ("lora", '{"name":"ink","path":"/loras/ink"}'),
    ]
