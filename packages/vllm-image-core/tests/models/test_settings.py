import pytest
from pydantic import ValidationError
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.settings import Preset


def test_a_preset_changes_nothing_by_itself() -> None:
    assert (Preset().num_inference_steps, Preset().guidance_scale, Preset().size) == (None, None, None)


def test_a_preset_has_both_sides_of_a_size() -> None:
    assert Preset(width=1328, height=928).size == Size(1328, 928)


@pytest.mark.parametrize("side", ["width", "height"])
def test_a_preset_with_one_side_alone_is_refused(side: str) -> None:
    with pytest.raises(ValidationError, match="both width and height"):
        Preset.model_validate({side: 1024})


@pytest.mark.parametrize(
    "values",
    [
        {"num_inference_steps": 0},
        {"num_inference_steps": 201},
        {"num_inference_steps": True},
        {"guidance_scale": -1},
        {"guidance_scale": 21},
        {"width": 0, "height": 16},
        {"steps": 4},
    ],
    ids=str,
)
def test_a_preset_out_of_range_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preset.model_validate(values)
