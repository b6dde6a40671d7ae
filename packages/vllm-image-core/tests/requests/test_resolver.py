import itertools
import math
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

REGISTRY = Registry.builtin()
KLEIN = REGISTRY.find("FLUX.2-klein-4B").profile
QWEN = REGISTRY.find("Qwen-Image-2512").profile
TURBO = REGISTRY.find("Z-Image-Turbo").profile
Z_IMAGE = REGISTRY.find("Z-Image").profile
EDIT = REGISTRY.find("Qwen-Image-Edit-2511").profile
HUNYUAN = REGISTRY.find("HunyuanImage-3.0").profile
BAGEL = REGISTRY.find("BAGEL-7B-MoT").profile
FALLBACK = REGISTRY.fallback


def resolved(profile: Profile = KLEIN, /, **asked: object) -> ResolvedRequest:
    return resolve(request(**asked), profile, draw_seed=lambda: 42)


def request(**asked: object) -> ImageRequest:
    """A request with values of any type, as they come from outside."""
    return ImageRequest(**{"prompt": "a red fox", **asked})  # type: ignore[arg-type] -- the point of the tests


def refused(profile: Profile = KLEIN, /, **asked: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolve(request(**asked), profile, draw_seed=lambda: pytest.fail("a seed was drawn for nothing"))
    assert caught.value.next_step
    assert caught.value.allowed
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
    return caught.value


def said(result: ResolvedRequest) -> dict[str, str]:
    return {note.parameter: note.message for note in result.notes}


# What is filled in


def test_a_bare_prompt_gets_the_model_s_own_settings_and_a_drawn_seed() -> None:
    assert resolved() == ResolvedRequest(
        model="black-forest-labs/FLUX.2-klein-4B",
        prompt="a red fox",
        negative_prompt=None,
        width=1024,
        height=1024,
        num_inference_steps=4,
        guidance_scale=1.0,
        guidance_field="guidance_scale",
        sent_guidance=1.0,
        guided=False,
        seed=42,
        notes=(),
    )


def test_what_the_caller_gives_wins_over_the_profile() -> None:
    result = resolved(QWEN, width=512, height=768, num_inference_steps=7, guidance_scale=3.5, seed=0)
    assert (str(result.size), result.num_inference_steps, result.guidance_scale, result.seed) == (
        "512x768",
        7,
        3.5,
        0,
    )
    assert result.notes == ()


def test_an_unknown_model_gets_the_fallback_of_the_plan() -> None:
    result = resolved(FALLBACK, negative_prompt="blur")
    assert (result.num_inference_steps, result.guidance_scale, str(result.size)) == (28, 5.0, "1024x1024")
    assert (result.guidance_field, result.sent_guidance, result.negative_prompt) == (
        "guidance_scale",
        5.0,
        "blur",
    )


def test_the_seed_is_drawn_once_and_only_when_there_is_none() -> None:
    seeds = itertools.count(100)
    assert resolve(request(), KLEIN, draw_seed=lambda: next(seeds)).seed == 100
    assert resolve(request(seed=5), KLEIN, draw_seed=lambda: next(seeds)).seed == 5
    assert next(seeds) == 101


def test_the_prompt_is_sent_as_it_was_given() -> None:
    prompt = "  un renard, cafe\u0301,\n\ta \U0001f98a\u200d\u2744\ufe0f and \u202eRTL\u202c  "
    assert resolved(prompt=prompt).prompt == prompt


# What is sent


def test_everything_that_shapes_the_picture_is_in_the_request_to_the_server() -> None:
    wire = resolved(KLEIN, seed=7).to_wire()
    assert wire.model_dump(exclude_none=True) == {
        "prompt": "a red fox",
        "n": 1,
        "size": "1024x1024",
        "response_format": "b64_json",
        "output_format": "png",
        "num_inference_steps": 4,
        "guidance_scale": 1.0,
        "seed": 7,
    }


def test_guidance_of_qwen_image_goes_into_true_cfg_scale_beside_a_blank_negative_prompt() -> None:
    wire = resolved(QWEN).to_wire()
    assert (wire.true_cfg_scale, wire.guidance_scale, wire.negative_prompt) == (5.0, None, " ")


def test_z_image_turbo_is_told_that_guidance_is_zero() -> None:
    wire = resolved(TURBO).to_wire()
    assert (wire.guidance_scale, wire.num_inference_steps, wire.negative_prompt) == (0.0, 9, None)
    assert b'"guidance_scale":0.0' in wire.to_json()


def test_a_resolved_request_can_be_asked_for_again() -> None:
    first = resolved(QWEN, aspect_ratio="3:2", negative_prompt="blur")
    assert resolve(first.as_request(), QWEN, draw_seed=lambda: 0) == first


# Guidance and negative prompts


@pytest.mark.parametrize(("asked", "sent"), [(0, 1.0), (0.5, 1.0), (1.0, 1.0)])
def test_guidance_of_at_most_one_switches_it_off_on_qwen_image(asked: float, sent: float) -> None:
    result = resolved(QWEN, guidance_scale=asked)
    assert (result.guidance_scale, result.sent_guidance, result.guided) == (asked, sent, False)
    assert result.negative_prompt is None
    assert ("guidance_scale" in said(result)) == (asked != sent)


def test_guidance_is_not_switched_on_for_a_distilled_model_and_that_is_told() -> None:
    result = resolved(KLEIN, guidance_scale=3.5)
    assert (result.guidance_scale, result.sent_guidance, result.guided) == (1.0, 1.0, False)
    assert said(result) == {
        "guidance_scale": (
            "guidance_scale 3.5 is not sent: black-forest-labs/FLUX.2-klein-4B is distilled, and above 1 an "
            "image takes about twice the time and is likely worse. 1 is sent instead."
        )
    }
    turbo = resolved(TURBO, guidance_scale=1)
    assert (turbo.sent_guidance, turbo.guided) == (0.0, False)


@pytest.mark.parametrize(("profile", "asked"), [(KLEIN, 1.0), (KLEIN, 0.5), (KLEIN, 0), (TURBO, 0)])
def test_guidance_that_costs_a_distilled_model_nothing_is_sent_as_asked(
    profile: Profile, asked: float
) -> None:
    result = resolved(profile, guidance_scale=asked)
    assert (result.sent_guidance, result.notes) == (asked, ())


def test_a_model_that_takes_one_guidance_only_gets_that_one() -> None:
    boogu = REGISTRY.find("Boogu-Image-0.1-Turbo").profile
    assert [resolved(boogu, guidance_scale=asked).sent_guidance for asked in (None, 0, 0.5, 1, 4)] == [
        1.0
    ] * 5
    assert said(resolved(boogu, guidance_scale=0.5)) == {
        "guidance_scale": "guidance_scale 0.5 turns guidance off; it is sent as guidance_scale 1."
    }


@pytest.mark.parametrize(
    ("model", "name"), [("BAGEL-7B-MoT", "cfg_text_scale"), ("SenseNova-U1-8B-MoT", "cfg_scale")]
)
def test_guidance_goes_into_the_extra_parameter_that_the_model_reads(model: str, name: str) -> None:
    result = resolved(REGISTRY.find(model).profile, guidance_scale=6)
    wire = result.to_wire()
    assert (wire.guidance_scale, wire.true_cfg_scale, wire.extra_params) == (None, None, {name: 6.0})
    assert result.guided
    off = resolved(REGISTRY.find(model).profile, guidance_scale=0)
    assert (off.to_wire().extra_params, off.guided) == ({name: 1.0}, False)


@pytest.mark.parametrize(
    ("width", "height", "nearest"),
    [(1040, 512, "1024x512"), (1024, 1040, "1008x1024"), (2048, 1024, "1024x512"), (640, 1600, "416x1024")],
)
def test_a_side_above_the_model_s_longest_is_refused_with_the_same_shape(
    width: int, height: int, nearest: str
) -> None:
    error = refused(BAGEL, width=width, height=height)
    w, h = nearest.split("x")
    assert error.next_step == f"Give width={w} and height={h}."
    assert resolved(BAGEL, width=int(w), height=int(h)).size.width == int(w)


def test_a_shape_that_the_model_has_no_size_for_is_offered_within_its_longest_side() -> None:
    assert "width=1024 and height=432" in (refused(BAGEL, aspect_ratio="21:9").next_step or "")
    assert resolved(BAGEL, width=1024, height=432).size.height == 432


@pytest.mark.parametrize("profile", [KLEIN, TURBO])
def test_a_negative_prompt_is_dropped_with_a_note_where_the_model_reads_none(profile: Profile) -> None:
    result = resolved(profile, negative_prompt="blurry")
    assert result.negative_prompt is None
    assert result.notes == (
        Note(
            parameter="negative_prompt",
            message=f"{profile.model} does not support negative prompts; negative_prompt was dropped.",
        ),
    )


@pytest.mark.parametrize(("given", "sent"), [("blurry", "blurry"), ("", " "), ("  ", " "), (None, " ")])
def test_qwen_image_always_gets_a_negative_prompt_under_guidance(given: str | None, sent: str) -> None:
    result = resolved(QWEN, negative_prompt=given)
    assert (result.negative_prompt, result.notes) == (sent, ())


@pytest.mark.parametrize(("given", "sent"), [("blurry", "blurry"), ("", ""), (None, None)])
def test_z_image_gets_the_negative_prompt_as_it_is(given: str | None, sent: str | None) -> None:
    result = resolved(Z_IMAGE, negative_prompt=given)
    assert (result.negative_prompt, result.notes) == (sent, ())


@pytest.mark.parametrize(("profile", "off"), [(QWEN, 1.0), (Z_IMAGE, 0.0)])
def test_a_negative_prompt_without_guidance_is_told_to_have_no_effect(profile: Profile, off: float) -> None:
    result = resolved(profile, guidance_scale=off, negative_prompt="blurry")
    assert (result.negative_prompt, result.guided) == ("blurry", False)
    assert said(result)["negative_prompt"] == (
        "negative_prompt has no effect: this guidance_scale turns guidance off."
    )


def test_a_blank_negative_prompt_needs_no_note() -> None:
    assert resolved(KLEIN, negative_prompt=" ").notes == ()
    assert resolved(Z_IMAGE, guidance_scale=0, negative_prompt="").notes == ()


# Qualities


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (None, (28, 5.0, "1024x1024")),
        ("standard", (28, 5.0, "1024x1024")),
        ("draft", (20, 5.0, "1024x1024")),
        ("best", (50, 4.0, "1328x1328")),
        (" BEST ", (50, 4.0, "1328x1328")),
    ],
)
def test_a_quality_fills_in_what_the_caller_left_out(
    quality: str | None, expected: tuple[int, float, str]
) -> None:
    result = resolved(QWEN, quality=quality)
    assert (result.num_inference_steps, result.guidance_scale, str(result.size)) == expected
    assert result.notes == ()


def test_a_quality_never_overrides_what_the_caller_gave() -> None:
    result = resolved(QWEN, quality="best", num_inference_steps=7, guidance_scale=2, aspect_ratio="16:9")
    assert (result.num_inference_steps, result.guidance_scale, str(result.size)) == (7, 2.0, "1664x928")
    assert str(resolved(QWEN, quality="best", width=512).size) == "512x1024"


def test_a_quality_that_the_model_does_not_have_is_told() -> None:
    result = resolved(KLEIN, quality="draft")
    assert (result.num_inference_steps, result.quality) == (4, None)
    assert said(result) == {
        "quality": (
            "black-forest-labs/FLUX.2-klein-4B has no settings for quality draft; its standard settings "
            "are used."
        )
    }
    assert resolved(KLEIN, quality="standard").notes == ()


@pytest.mark.parametrize("value", ["fast", "", 1, True, ["best"]])
def test_a_quality_that_is_none_is_refused(value: object) -> None:
    error = refused(QWEN, quality=value)
    assert (error.parameter, error.allowed) == ("quality", "one of draft, standard, best")


# Input pictures


def test_a_model_that_only_edits_makes_no_picture_from_a_text_alone() -> None:
    error = refused(EDIT)
    assert (error.parameter, error.allowed) == ("images", "1 to 4 input images")
    assert (
        error.message == "Qwen/Qwen-Image-Edit-2511 edits images; it does not generate them from text alone."
    )


def test_a_model_takes_as_many_input_pictures_as_it_can() -> None:
    assert resolve(request(), EDIT, draw_seed=lambda: 42, input_images=4).num_inference_steps == 40
    with pytest.raises(InvalidRequest, match="accepts at most 4 input images here, not 5"):
        resolve(request(), EDIT, draw_seed=lambda: 42, input_images=5)
    with pytest.raises(InvalidRequest, match="does not accept input images here"):
        resolve(request(), QWEN, draw_seed=lambda: 42, input_images=1)


# Sizes that a model has in a list


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
def test_a_size_of_the_list_is_taken(asked: dict[str, object], size: str) -> None:
    assert str(resolved(HUNYUAN, **asked).size) == size


def test_one_side_is_completed_to_a_size_of_the_list_with_a_note() -> None:
    assert said(resolved(HUNYUAN, height=720)) == {
        "width": "width was set to 1280: the model generates 1280x720."
    }


def test_a_size_that_is_not_in_the_list_is_refused_with_the_nearest() -> None:
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


# Sizes


@pytest.mark.parametrize(
    "asked", ["16:9", " 16:9 ", "16x9", "16X9", "16/9", "16 : 9", "16\N{MULTIPLICATION SIGN}9", "32:18"]
)
def test_an_aspect_ratio_means_the_model_s_own_size_however_it_is_spelled(asked: str) -> None:
    assert str(resolved(QWEN, aspect_ratio=asked).size) == "1664x928"


def test_an_aspect_ratio_wins_over_width_and_height_with_a_note() -> None:
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
def test_an_unsupported_aspect_ratio_is_refused_with_those_that_are(asked: object) -> None:
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
def test_a_width_that_is_no_multiple_is_refused_with_the_nearest(width: int, nearest: int) -> None:
    error = refused(width=width, height=1024)
    assert error.message == f"Width {width} is not a multiple of 16. Nearest valid width is {nearest}."
    assert (error.parameter, error.value, error.next_step) == ("width", width, f"Give width={nearest}.")
    assert str(resolved(width=nearest, height=1024).size) == f"{nearest}x1024"


def test_a_height_that_is_no_multiple_is_refused_with_the_nearest() -> None:
    error = refused(width=1024, height=1000)
    assert error.message == "Height 1000 is not a multiple of 16. Nearest valid height is 1008."
    assert error.parameter == "height"


def test_two_wrong_sides_are_told_at_once() -> None:
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
def test_a_side_that_no_request_carries_is_refused_in_our_own_words(
    width: int, height: int, parameter: str, nearest: str
) -> None:
    error = refused(width=width, height=height)
    assert error.parameter == parameter
    assert "a request can ask for at most 99999 pixels per side" in error.message
    assert f"Nearest valid size is {nearest}." in error.message
    nearest_width, nearest_height = map(int, nearest.split("x"))
    assert resolved(width=nearest_width, height=nearest_height).to_wire().size == nearest


def test_a_nearest_multiple_is_one_that_a_request_carries() -> None:
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


def test_of_two_sides_the_one_that_is_only_too_long_is_told_as_that() -> None:
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


def test_exactly_the_limit_is_allowed() -> None:
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
def test_one_side_alone_is_completed_by_the_models_default_size(asked: dict[str, int], size: str) -> None:
    result = resolved(**asked)
    assert str(result.size) == size
    (note,) = result.notes
    assert note.parameter not in asked
    assert f"{note.parameter} was set to {getattr(result, note.parameter)}" in note.message


def test_one_side_alone_that_is_no_multiple_is_refused_by_the_plan_s_message() -> None:
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
def test_what_is_no_number_of_pixels_is_refused(side: str, value: object) -> None:
    for other in ({}, {"height" if side == "width" else "width": 1024}):
        error = refused(**{side: value}, **other)
        assert error.parameter == side
        assert error.allowed == "a positive number of pixels"


# Steps, guidance scale and seed


@pytest.mark.parametrize(
    "value", [0, 201, -1, True, "4", 4.0, math.nan, 2**70, pytest.param(10**5000, id="huge"), object()]
)
def test_steps_that_no_server_takes_are_refused(value: object) -> None:
    error = refused(num_inference_steps=value)
    assert (error.parameter, error.value) == ("num_inference_steps", value) or value != value  # noqa: PLR0124 -- NaN
    assert error.allowed == "an integer from 1 to 200"


@pytest.mark.parametrize("value", [1, 200])
def test_steps_at_the_bounds_are_taken(value: int) -> None:
    assert resolved(num_inference_steps=value).to_wire().num_inference_steps == value


@pytest.mark.parametrize(
    "value", [-0.1, 20.1, math.nan, math.inf, -math.inf, True, "7", 10**400, Decimal("NaN"), [], 1j]
)
def test_guidance_that_no_server_takes_is_refused(value: object) -> None:
    error = refused(guidance_scale=value)
    assert (error.parameter, error.allowed) == ("guidance_scale", "a number from 0 to 20")


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 20, 20.0, Fraction(7, 2)])
def test_guidance_at_the_bounds_is_taken_as_a_float(value: float) -> None:
    taken = resolved(QWEN, guidance_scale=value).guidance_scale
    assert (type(taken), taken) == (float, value)
    assert math.copysign(1, taken) == 1


@pytest.mark.parametrize(
    "value",
    [True, False, "7", 7.0, math.nan, 2**63, -(2**63) - 1, 2**70, pytest.param(10**5000, id="huge"), [7]],
)
def test_a_seed_that_is_no_64_bit_integer_is_refused(value: object) -> None:
    error = refused(seed=value)
    assert error.parameter == "seed"
    assert error.message.endswith("Allowed: a signed 64-bit integer, preferably from 0 to 4294967295.")


@pytest.mark.parametrize("value", [0, -1, 2**32, 2**63 - 1, -(2**63)])
def test_a_seed_at_the_bounds_is_taken(value: int) -> None:
    assert resolved(seed=value).to_wire().seed == value


# Prompts


@pytest.mark.parametrize("value", ["", " ", "\n\t ", "\u3000"])
def test_a_blank_prompt_is_refused(value: str) -> None:
    error = refused(prompt=value)
    assert (error.parameter, error.message) == ("prompt", "The prompt is empty.")


@pytest.mark.parametrize("length", [20_001, 100_000])
@pytest.mark.parametrize("parameter", ["prompt", "negative_prompt"])
def test_a_prompt_that_is_too_long_is_refused_without_being_repeated(parameter: str, length: int) -> None:
    error = refused(**{parameter: "x" * length})
    assert error.message == f"The {parameter} has {length} characters; at most 20000 are allowed."


@pytest.mark.parametrize("stray", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud83e"])
@pytest.mark.parametrize("parameter", ["prompt", "negative_prompt"])
def test_a_character_that_is_no_text_is_refused_with_its_place(parameter: str, stray: str) -> None:
    error = refused(QWEN, **{parameter: f"a fox{stray}"})
    assert error.parameter == parameter
    assert error.message == f"The {parameter} has a character that is not allowed: U+{ord(stray):04X} at 5."


@pytest.mark.parametrize("value", [None, 7, True, b"fox", ["fox"]])
def test_a_prompt_that_is_no_text_is_refused(value: object) -> None:
    assert refused(prompt=value).parameter == "prompt"


def test_a_prompt_that_the_model_will_cut_is_sent_with_a_note() -> None:
    assert resolved(prompt="x" * 2048).notes == ()
    assert said(resolved(prompt="x" * 2049)) == {
        "prompt": (
            "The prompt has 2049 characters; black-forest-labs/FLUX.2-klein-4B reads 512 tokens, about 2048 "
            "characters of English: the rest is cut off."
        )
    }
    assert "the server may refuse it" in said(resolved(QWEN, prompt="x" * 4097))["prompt"]
    assert resolved(FALLBACK, prompt="x" * 20_000).notes == ()


def test_an_integer_of_another_library_is_an_integer() -> None:
    class Int64(int):
        """As numpy's: registered as an integer."""

    assert resolved(seed=Int64(7)).seed == 7
    assert type(resolved(seed=Int64(7)).seed) is int


def test_a_value_with_a_hostile_name_stays_out_of_the_message() -> None:
    assert "SimpleNamespace" in refused(seed=SimpleNamespace(x="\x1b[31m")).message


@pytest.mark.parametrize(
    ("asked", "sent"), [(None, "png"), ("png", "png"), ("JPEG", "jpeg"), ("jpg", "jpeg"), (" webp ", "webp")]
)
def test_a_format_is_sent_as_the_server_calls_it(asked: str | None, sent: str) -> None:
    result = resolved(output_format=asked)
    assert (result.output_format, result.to_wire().output_format) == (sent, sent)
    again = resolve(result.as_request(), KLEIN, draw_seed=lambda: 1)
    assert again.output_format == sent


@pytest.mark.parametrize("value", ["gif", "", 1, True, ["png"]])
def test_a_format_that_no_server_makes_is_refused(value: object) -> None:
    error = refused(output_format=value)
    assert (error.parameter, error.allowed) == ("output_format", "one of png, jpeg, webp")
