from fractions import Fraction

import pytest
from vllm_image_core.imaging.size import (
    Size,
    aspect_ratio,
    longest_other_side,
    nearest_multiple,
    shrink_to_pixels,
)


def test_a_size_reads_as_the_server_spells_it() -> None:
    assert str(Size(1024, 576)) == "1024x576"
    assert (Size(1024, 1024).megapixels, Size(1664, 928).aspect) == (1.048576, 1664 / 928)


@pytest.mark.parametrize(
    ("length", "nearest"), [(0, 16), (1, 16), (23, 16), (24, 32), (1000, 1008), (1007, 1008), (1008, 1008)]
)
def test_the_nearest_multiple_is_the_larger_of_two_equally_near(length: int, nearest: int) -> None:
    assert nearest_multiple(length, 16) == nearest


def test_the_longest_side_for_another_one_keeps_within_the_pixels() -> None:
    assert longest_other_side(2048, multiple=16, max_pixels=4_000_000) == 1952
    assert longest_other_side(1_000_000, multiple=16, max_pixels=4_000_000) == 0


@pytest.mark.parametrize(
    ("size", "largest"),
    [
        (Size(2048, 2048), Size(2000, 2000)),
        (Size(3840, 2160), Size(2640, 1488)),
        (Size(2160, 3840), Size(1488, 2640)),
        (Size(10**400, 16), Size(250_000, 16)),
        (Size(16, 10**400), Size(16, 250_000)),
    ],
)
def test_a_shrunk_size_keeps_its_shape_as_far_as_it_can(size: Size, largest: Size) -> None:
    assert shrink_to_pixels(size, multiple=16, max_pixels=4_000_000) == largest


@pytest.mark.parametrize("text", ["16:9", " 16 : 9 ", "16x9", "32/18", "16\N{MULTIPLICATION SIGN}9"])
def test_a_ratio_is_a_number_however_it_is_spelled(text: str) -> None:
    assert aspect_ratio(text) == Fraction(16, 9)


@pytest.mark.parametrize("text", ["", "16", "0:1", "1:0", "wide", "1.5:1", "-1:1", "999999:1"])
def test_anything_but_a_ratio_gives_none(text: str) -> None:
    assert aspect_ratio(text) is None
