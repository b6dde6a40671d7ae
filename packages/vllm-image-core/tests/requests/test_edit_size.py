"""The size of an edit: that of the image, fitted to the model, if none is requested."""

from typing import Any

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_size import choose_edit_size, size_of_resolution
from vllm_image_core.requests.image_request import ImageRequest

REGISTRY = Registry.builtin()
KLEIN = REGISTRY.find("black-forest-labs/FLUX.2-klein-4B").profile
OMNIGEN = REGISTRY.find("OmniGen2/OmniGen2").profile
HUNYUAN = REGISTRY.find("tencent/HunyuanImage-3.0").profile


def chosen(first: tuple[int, int], profile: Profile = KLEIN, **asked: object) -> tuple[str, list[str]]:
    request = ImageRequest(prompt="x", **asked)  # type: ignore[arg-type]  # by name
    size, notes = choose_edit_size(request, profile, Size(*first))
    return str(size), [note.message for note in notes]


def test_an_image_keeps_its_size_if_the_model_can_generate_it() -> None:
    assert chosen((1024, 768)) == ("1024x768", [])


@pytest.mark.parametrize(
    ("first", "size"),
    [
        ((1000, 667), "992x656"),
        ((17, 1001), "16x992"),
        ((4032, 3024), "2304x1728"),
        ((6000, 200), "6000x192"),
        ((5, 3), "16x16"),
    ],
)
def test_another_size_is_fitted_within_the_limits_of_the_model_and_reported(
    first: tuple[int, int], size: str
) -> None:
    found, notes = chosen(first)
    width, height = map(int, found.split("x"))
    assert width % 16 == height % 16 == 0
    assert width * height <= KLEIN.max_pixels
    assert found == size
    assert [str(Size(*first)) in note and size in note for note in notes] == [True]


def test_one_side_alone_is_completed_in_the_shape_of_the_image() -> None:
    assert chosen((1024, 512), width=512)[0] == "512x256"
    assert chosen((1024, 512), height=512)[0] == "1024x512"
    assert "to keep the shape of the input image (1024x512)" in chosen((1024, 512), height=512)[1][0]


@pytest.mark.parametrize("asked", [{"width": 1000}, {"width": 0}, {"width": True}, {"height": 100_000}])
def test_one_side_that_the_model_cannot_generate_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chosen((1024, 512), **asked)
    assert caught.value.parameter in asked


def test_the_requested_size_overrides_that_of_the_image() -> None:
    assert chosen((1024, 768), width=256, height=512)[0] == "256x512"
    assert chosen((1024, 768), aspect_ratio="16:9")[0] == "1024x576"


def test_a_model_with_few_sizes_uses_the_one_nearest_in_shape() -> None:
    found, notes = chosen((400, 100), HUNYUAN)
    sizes = HUNYUAN.supported_aspect_ratios.values()
    assert found == str(max(sizes, key=lambda size: size.aspect if size.aspect <= 4 else 0))
    assert "generates only certain sizes" in notes[0]


@pytest.mark.parametrize(
    ("resolution", "first", "size"),
    [(640, (512, 512), "640x640"), (1024, (1600, 900), "1376x768"), (640, (10_000, 10), "20224x32")],
)
def test_the_size_of_a_layered_model_follows_from_resolution_and_shape(
    resolution: int, first: tuple[int, int], size: str
) -> None:
    assert str(size_of_resolution(resolution, Size(*first))) == size


@pytest.mark.parametrize(
    ("first", "size"),
    [
        ((1024, 512), "1024x512"),
        ((2000, 1000), "1024x512"),
        ((4000, 100), "1024x16"),
        ((500, 333), "496x320"),
    ],
)
def test_if_the_server_keeps_the_size_of_the_image_that_size_is_resolved(
    first: tuple[int, int], size: str
) -> None:
    found, notes = chosen(first, OMNIGEN)
    assert found == size
    assert len(notes) == (str(Size(*first)) != size)


@pytest.mark.parametrize("asked", [{"width": 1024}, {"height": 512}, {"aspect_ratio": "2:1"}])
def test_the_size_that_results_anyway_may_be_requested(asked: dict[str, Any]) -> None:
    assert chosen((2000, 1000), OMNIGEN, **asked)[0] == "1024x512"


@pytest.mark.parametrize(
    ("asked", "left_out"),
    [
        ({"width": 512}, "width"),
        ({"height": 1024}, "height"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"width": 768, "height": 768}, "width and height"),
    ],
)
def test_another_size_is_refused_if_the_server_would_ignore_it(asked: dict[str, Any], left_out: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chosen((2000, 1000), OMNIGEN, **asked)
    assert caught.value.parameter == next(iter(asked))
    assert "1024x512" in str(caught.value)
    assert caught.value.next_step == f"Leave {left_out} out, or resize or crop the image first."
