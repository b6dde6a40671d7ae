"""The size of an image: chosen from what is requested and what the model generates."""

import math

import pytest
from resolved_requests import KLEIN, QWEN, REGISTRY, refused, resolved, said

HUNYUAN = REGISTRY.find("HunyuanImage-3.0").profile
BAGEL = REGISTRY.find("BAGEL-7B-MoT").profile


@pytest.mark.parametrize(
    ("width", "height", "nearest"),
    [(1040, 512, "1024x512"), (1024, 1040, "1008x1024"), (2048, 1024, "1024x512"), (640, 1600, "416x1024")],
)
def test_a_side_that_is_too_long_for_the_model_is_refused_with_a_valid_size_of_the_same_shape(
    width: int, height: int, nearest: str
) -> None:
    error = refused(BAGEL, width=width, height=height)
    w, h = nearest.split("x")
    assert error.next_step == f"Give width={w} and height={h}."
    assert resolved(BAGEL, width=int(w), height=int(h)).size.width == int(w)


def test_a_shape_without_a_size_is_offered_one_within_the_longest_side() -> None:
    assert "width=1024 and height=432" in (refused(BAGEL, aspect_ratio="21:9").next_step or "")
    assert resolved(BAGEL, width=1024, height=432).size.height == 432


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 1280, "height": 720}, "1280x720"),
        ({"width": 1024}, "1024x1024"),
        ({"height": 720}, "1280x720"),
        ({}, "1024x1024"),
        ({"aspect_ratio": "3:2"}, "1216x832"),
    ],
)
def test_a_listed_size_is_accepted(asked: dict[str, object], size: str) -> None:
    assert str(resolved(HUNYUAN, **asked).size) == size


def test_one_side_is_completed_to_a_listed_size_with_a_note() -> None:
    assert said(resolved(HUNYUAN, height=720)) == {
        "width": "width was set to 1280: the model generates 1280x720."
    }


def test_an_unlisted_size_is_refused_with_the_nearest() -> None:
    error = refused(HUNYUAN, width=1264, height=720)
    assert (error.parameter, error.value, error.next_step) == (
        "width",
        1264,
        "Give width=1280 and height=720.",
    )
    assert error.message == (
        "width 1264 x height 720 is not a size that this model generates: the server would change it. "
        "Nearest valid size is 1280x720."
    )


@pytest.mark.parametrize(
    "asked", ["16:9", " 16:9 ", "16x9", "16X9", "16/9", "16 : 9", "16\N{MULTIPLICATION SIGN}9", "32:18"]
)
def test_an_aspect_ratio_means_the_size_of_the_model_however_it_is_spelled(asked: str) -> None:
    assert str(resolved(QWEN, aspect_ratio=asked).size) == "1664x928"


def test_an_aspect_ratio_overrides_width_and_height_with_a_note() -> None:
    result = resolved(KLEIN, aspect_ratio="16:9", width=1000, height=576)
    assert str(result.size) == "1024x576"
    assert said(result) == {
        "width": "width 1000 is ignored: the aspect_ratio overrides it and means 1024x576 here."
    }


@pytest.mark.parametrize(
    "asked",
    [
        "5:7",
        "16:",
        "",
        "wide",
        "1:0",
        "0:1",
        "0:0",
        "-16:9",
        "16:9:1",
        "1.78",
        1.78,
        "9" * 999,
        "16:\N{FULLWIDTH DIGIT NINE}",
    ],
)
def test_an_unsupported_aspect_ratio_is_refused_with_the_supported_ones(asked: object) -> None:
    error = refused(KLEIN, aspect_ratio=asked)
    assert (error.parameter, error.value) == ("aspect_ratio", asked)
    assert (
        error.allowed == "1:1 (1024x1024), 16:9 (1024x576), 9:16 (576x1024), 4:3 (1024x768), 3:4 (768x1024)"
    )
    assert error.message.endswith(f"is not supported by this model. Supported: {error.allowed}.")


@pytest.mark.parametrize(
    ("width", "nearest"),
    [
        (1000, 1008),
        (1001, 1008),
        (999, 992),
        (1023, 1024),
        (1, 16),
        (15, 16),
        (23, 16),
        (24, 32),
        (4999, 3904),
    ],
)
def test_a_width_that_is_not_a_multiple_is_refused_with_the_nearest(width: int, nearest: int) -> None:
    error = refused(width=width, height=1024)
    assert error.message == f"Width {width} is not a multiple of 16. Nearest valid width is {nearest}."
    assert (error.parameter, error.value, error.next_step) == ("width", width, f"Give width={nearest}.")
    assert str(resolved(width=nearest, height=1024).size) == f"{nearest}x1024"


def test_a_height_that_is_not_a_multiple_is_refused_with_the_nearest() -> None:
    error = refused(width=1024, height=1000)
    assert error.message == "Height 1000 is not a multiple of 16. Nearest valid height is 1008."
    assert error.parameter == "height"


def test_two_wrong_sides_are_reported_at_once() -> None:
    error = refused(width=1000, height=77)
    assert error.message == (
        "Width 1000 is not a multiple of 16. Nearest valid width is 1008. "
        "Height 77 is not a multiple of 16. Nearest valid height is 80."
    )
    assert error.next_step == "Give width=1008 and height=80."


@pytest.mark.parametrize(
    ("width", "height", "parameter", "nearest"),
    [
        (16, 250_000, "height", "16x99984"),
        (250_000, 16, "width", "99984x16"),
        (100_000, 32, "width", "99984x32"),
        (16, 100_000, "height", "16x99984"),
    ],
)
def test_a_side_that_no_request_can_carry_is_refused_in_our_own_words(
    width: int, height: int, parameter: str, nearest: str
) -> None:
    error = refused(width=width, height=height)
    assert error.parameter == parameter
    assert "a request can ask for at most 99999 pixels per side" in error.message
    assert f"Nearest valid size is {nearest}." in error.message
    nearest_width, nearest_height = map(int, nearest.split("x"))
    assert resolved(width=nearest_width, height=nearest_height).to_wire().size == nearest


def test_a_nearest_multiple_is_one_that_a_request_can_carry() -> None:
    assert "Nearest valid width is 99984." in refused(width=99_995, height=16).message


@pytest.mark.parametrize(
    ("width", "height", "next_step"),
    [
        (4096, 1001, "Give height=976."),
        (1, 125_008, "Give width=16 and height=99984."),
        (4001, 4001, "Give width=2000 and height=2000."),
        (10**9, 1, "Give width=99984 and height=16."),
        (0, 1024, "Give width=16."),
        (1024, -16, "Give height=16."),
        (2**31, 16, "Give width=99984."),
        (3999, None, "Give width=4000."),
        (100_001, None, "Give width=3904, or give both width and height, or an aspect_ratio."),
    ],
)
def test_one_correction_is_enough(width: int, height: int | None, next_step: str) -> None:
    assert refused(width=width, height=height).next_step == next_step


def test_of_two_sides_the_one_that_is_only_too_long_is_reported_as_too_long() -> None:
    assert refused(width=10**9, height=1).message == (
        "Width 1000000000 is too long. Nearest valid width is 99984. "
        "Height 1 is not a multiple of 16. Nearest valid height is 16."
    )


def test_an_aspect_ratio_that_the_table_lacks_is_refused_with_a_size_of_its_shape() -> None:
    assert refused(aspect_ratio="17:3").next_step == (
        "Give one of the supported aspect ratios, or give width=2352 and height=416 instead."
    )
    assert refused(aspect_ratio="square").next_step == (
        "Give one of the supported aspect ratios, or give width and height instead."
    )


@pytest.mark.parametrize(
    ("width", "height", "nearest"),
    [
        (2048, 2048, "2000x2000"),
        (4096, 4096, "2000x2000"),
        (3840, 2160, "2640x1488"),
        (2160, 3840, "1488x2640"),
        (2000, 2016, "1984x2000"),
        (1_000_000_000, 16, "99984x16"),
    ],
)
def test_a_size_over_the_limit_is_refused_with_the_nearest_of_its_shape(
    width: int, height: int, nearest: str
) -> None:
    error = refused(width=width, height=height)
    assert f"{width}x{height} is " in error.message
    assert error.message.endswith(
        f"over the model's limit of 4 megapixels. Nearest valid size of the same shape is {nearest}."
    )
    width_and_height = dict(zip(("width", "height"), map(int, nearest.split("x")), strict=True))
    assert str(resolved(**width_and_height).size) == nearest


def test_a_size_exactly_at_the_limit_is_allowed() -> None:
    assert str(resolved(width=2000, height=2000).size) == "2000x2000"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 512}, "512x1024"),
        ({"height": 768}, "1024x768"),
        ({"width": 16}, "16x1024"),
        ({"width": 3904}, "3904x1024"),
        ({"width": 4096}, "4096x976"),
        ({"height": 7808}, "512x7808"),
    ],
)
def test_one_side_alone_is_completed_with_the_default_size_of_the_model(
    asked: dict[str, int], size: str
) -> None:
    result = resolved(**asked)
    assert str(result.size) == size
    (note,) = result.notes
    assert note.parameter not in asked
    assert f"{note.parameter} was set to {getattr(result, note.parameter)}" in note.message


def test_one_side_alone_that_is_not_a_multiple_is_refused_with_the_message_of_the_plan() -> None:
    assert refused(width=1000).message == "Width 1000 is not a multiple of 16. Nearest valid width is 1008."
    assert refused(height=8).message == "Height 8 is not a multiple of 16. Nearest valid height is 16."


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("length", [7824, 10_240, 999_999_984])
def test_one_side_alone_far_over_the_limit_is_refused_rather_than_stretched(side: str, length: int) -> None:
    error = refused(**{side: length})
    other = "height" if side == "width" else "width"
    assert (error.parameter, error.value) == (side, length)
    assert error.message.endswith(f"The largest {side} with that {other} is 3904.")
    assert f"Give {side}=3904" in error.next_step


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize(
    "value",
    [
        0,
        -16,
        True,
        False,
        "1024",
        1024.0,
        math.nan,
        math.inf,
        2**31,
        pytest.param(10**5000, id="huge"),
        [1024],
        b"1",
    ],
)
def test_anything_but_a_number_of_pixels_is_refused(side: str, value: object) -> None:
    for other in ({}, {"height" if side == "width" else "width": 1024}):
        error = refused(**{side: value}, **other)
        assert error.parameter == side
        assert error.allowed == "a positive number of pixels"


@pytest.mark.parametrize("ratio", ["0x0", "1024X1024:1", "1e3x1", "1:0"])
def test_i07_an_invalid_ratio_is_refused_with_the_valid_ones(ratio: str) -> None:
    assert "16:9 (1024x576)" in refused(aspect_ratio=ratio).allowed


@pytest.mark.parametrize(
    ("width", "height", "next_step"),
    [
        (1000, 1024, "Give width=1008."),
        (1024, 8, "Give height=16."),
        (10**9, 16, "Give width=99984 and height=16."),
    ],
)
def test_i07_a_size_that_no_model_generates_is_refused_with_the_nearest_valid_one(
    width: int, height: int, next_step: str
) -> None:
    assert refused(width=width, height=height).next_step == next_step
