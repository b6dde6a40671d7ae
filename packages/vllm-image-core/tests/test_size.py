import pytest
from vllm_image_core.size import Size, longest_beside, nearest_multiple, shrunk


def test_a_size_reads_as_the_server_spells_it() -> None:
    assert str(Size(1024, 576)) == "1024x576"
    assert (Size(1024, 1024).megapixels, Size(1664, 928).aspect) == (1.048576, 1664 / 928)


@pytest.mark.parametrize(
    ("length", "nearest"), [(0, 16), (1, 16), (23, 16), (24, 32), (1000, 1008), (1007, 1008), (1008, 1008)]
)
def test_the_nearest_multiple_is_the_larger_of_two_equally_near(length: int, nearest: int) -> None:
    assert nearest_multiple(length, 16) == nearest


def test_the_longest_side_beside_another_keeps_within_the_pixels() -> None:
    assert longest_beside(2048, multiple=16, max_pixels=4_000_000) == 1952
    assert longest_beside(1_000_000, multiple=16, max_pixels=4_000_000) == 0


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
    assert shrunk(size, multiple=16, max_pixels=4_000_000) == largest
