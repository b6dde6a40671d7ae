"""Boxes and polygons are read however they are written, and lie within the image."""

import pytest
from vllm_image_core import InvalidRequest, Size
from vllm_image_core.requests.mask_areas import MaskAreas, read_areas

HALF = (0.0, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("value", "areas"),
    [
        ([0, 0, 0.5, 1], (HALF,)),
        ([[0, 0, 0.5, 1]], (HALF,)),
        (((0, 0, 0.5, 1), (10, 20, 30, 40)), (HALF, (10.0, 20.0, 30.0, 40.0))),
        ("0,0,0.5,1", (HALF,)),
        ("0 0 .5 1; 10, 20, 30, 40", (HALF, (10.0, 20.0, 30.0, 40.0))),
        ("[[0, 0, 0.5, 1]]", (HALF,)),
    ],
)
def test_boxes_are_read_in_every_form(value: object, areas: object) -> None:
    assert read_areas("mask_box", value) == areas
    assert read_areas("mask_box", areas) == areas


@pytest.mark.parametrize(
    "value", [[[0, 0], [9, 0], [9, 9]], [[[0, 0], [9, 0], [9, 9]]], [0, 0, 9, 0, 9, 9], "0,0,9,0,9,9"]
)
def test_a_polygon_is_read_in_every_form(value: object) -> None:
    assert read_areas("mask_polygon", value) == ((0.0, 0.0, 9.0, 0.0, 9.0, 9.0),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mask_box", []),
        ("mask_box", [1, 2, 3]),
        ("mask_box", [5, 0, 5, 9]),
        ("mask_box", [0, 0, True, 1]),
        ("mask_box", [0, 0, float("nan"), 1]),
        ("mask_box", ["a", "b", "c", "d"]),
        ("mask_box", "left half"),
        ("mask_box", {"x": 1}),
        ("mask_box", 7),
        ("mask_box", [[0, 0, 1, 1]] * 1_000),
        ("mask_polygon", [[0, 0], [1, 1]]),
        ("mask_polygon", [[0, 0, 1], [1, 1, 1], [2, 2, 2]]),
    ],
)
def test_anything_but_an_area_is_refused_with_what_is_allowed(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_areas(name, value)
    assert caught.value.parameter == name
    assert "in pixels or as fractions" in str(caught.value.allowed)


def test_fractions_and_pixels_give_the_same_mask() -> None:
    size = Size(64, 32)
    fractions = MaskAreas(boxes=(HALF,)).draw(size)
    pixels = MaskAreas(boxes=((0, 0, 32, 32),)).draw(size)
    assert fractions.sha256 == pixels.sha256
    assert fractions.picture.size == size


@pytest.mark.parametrize("box", [(64, 0, 70, 9), (0, 40, 9, 50), (-9, 0, 0, 9)])
def test_an_area_outside_the_image_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(InvalidRequest, match="is outside the image, which is 64x32"):
        MaskAreas(boxes=(box,)).check(Size(64, 32))
