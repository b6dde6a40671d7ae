"""Requests, checked and filled in from a model's profile."""

import itertools
import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from resolved_requests import KLEIN, QWEN, REGISTRY, refused, request, resolved, said
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.storage.filename import automatic_stem

EDIT = REGISTRY.find("Qwen-Image-Edit-2511").profile
FALLBACK = REGISTRY.fallback


def test_a_bare_prompt_gets_the_settings_of_the_model_and_a_drawn_seed() -> None:
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


def test_values_of_the_caller_override_the_profile() -> None:
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


def test_the_seed_is_drawn_once_and_only_if_there_is_none() -> None:
    seeds = itertools.count(100)
    assert resolve(request(), KLEIN, draw_seed=lambda: next(seeds)).seed == 100
    assert resolve(request(seed=5), KLEIN, draw_seed=lambda: next(seeds)).seed == 5
    assert next(seeds) == 101


def test_the_prompt_is_sent_as_it_was_given() -> None:
    prompt = "  un renard, cafe\u0301,\n\ta \U0001f98a\u200d\u2744\ufe0f and \u202eRTL\u202c  "
    assert resolved(prompt=prompt).prompt == prompt


def test_everything_that_shapes_the_image_is_in_the_request_to_the_server() -> None:
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


def test_a_resolved_request_can_be_requested_again() -> None:
    first = resolved(QWEN, aspect_ratio="3:2", negative_prompt="blur")
    assert resolve(first.as_request(), QWEN, draw_seed=lambda: 0) == first


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
def test_a_quality_fills_in_what_the_caller_omitted(
    quality: str | None, expected: tuple[int, float, str]
) -> None:
    result = resolved(QWEN, quality=quality)
    assert (result.num_inference_steps, result.guidance_scale, str(result.size)) == expected
    assert result.notes == ()


def test_a_quality_never_overrides_what_the_caller_gave() -> None:
    result = resolved(QWEN, quality="best", num_inference_steps=7, guidance_scale=2, aspect_ratio="16:9")
    assert (result.num_inference_steps, result.guidance_scale, str(result.size)) == (7, 2.0, "1664x928")
    assert str(resolved(QWEN, quality="best", width=512).size) == "512x1024"


def test_a_quality_that_the_model_does_not_have_is_reported() -> None:
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
def test_an_invalid_quality_is_refused(value: object) -> None:
    error = refused(QWEN, quality=value)
    assert (error.parameter, error.allowed) == ("quality", "one of draft, standard, best")


def test_a_model_that_only_edits_does_not_generate_from_text_alone() -> None:
    error = refused(EDIT)
    assert (error.parameter, error.allowed) == ("images", "1 to 4 input images")
    assert (
        error.message == "Qwen/Qwen-Image-Edit-2511 edits images; it does not generate them from text alone."
    )


def test_a_model_accepts_as_many_input_images_as_it_can() -> None:
    assert resolve(request(), EDIT, draw_seed=lambda: 42, input_images=4).num_inference_steps == 40
    with pytest.raises(InvalidRequest, match="accepts at most 4 input images here, not 5"):
        resolve(request(), EDIT, draw_seed=lambda: 42, input_images=5)
    with pytest.raises(InvalidRequest, match="does not accept input images here"):
        resolve(request(), QWEN, draw_seed=lambda: 42, input_images=1)


@pytest.mark.parametrize(
    "value", [0, 201, -1, True, "4", 4.0, math.nan, 2**70, pytest.param(10**5000, id="huge"), object()]
)
def test_invalid_steps_are_refused(value: object) -> None:
    error = refused(num_inference_steps=value)
    assert (error.parameter, error.value) == ("num_inference_steps", value) or value != value  # noqa: PLR0124 -- NaN
    assert error.allowed == "an integer from 1 to 200"


@pytest.mark.parametrize("value", [1, 200])
def test_steps_at_the_bounds_are_accepted(value: int) -> None:
    assert resolved(num_inference_steps=value).to_wire().num_inference_steps == value


@pytest.mark.parametrize(
    "value", [-0.1, 20.1, math.nan, math.inf, -math.inf, True, "7", 10**400, Decimal("NaN"), [], 1j]
)
def test_invalid_guidance_is_refused(value: object) -> None:
    error = refused(guidance_scale=value)
    assert (error.parameter, error.allowed) == ("guidance_scale", "a number from 0 to 20")


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 20, 20.0, Fraction(7, 2)])
def test_guidance_at_the_bounds_is_accepted_as_a_float(value: float) -> None:
    taken = resolved(QWEN, guidance_scale=value).guidance_scale
    assert (type(taken), taken) == (float, value)
    assert math.copysign(1, taken) == 1


@pytest.mark.parametrize(
    "value",
    [True, False, "7", 7.0, math.nan, 2**63, -(2**63) - 1, 2**70, pytest.param(10**5000, id="huge"), [7]],
)
def test_a_seed_that_is_not_a_64_bit_integer_is_refused(value: object) -> None:
    error = refused(seed=value)
    assert error.parameter == "seed"
    assert error.message.endswith("Allowed: a signed 64-bit integer, preferably from 0 to 4294967295.")


@pytest.mark.parametrize("value", [0, -1, 2**32, 2**63 - 1, -(2**63)])
def test_a_seed_at_the_bounds_is_accepted(value: int) -> None:
    assert resolved(seed=value).to_wire().seed == value


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
def test_a_character_that_is_not_text_is_refused_with_its_place(parameter: str, stray: str) -> None:
    error = refused(QWEN, **{parameter: f"a fox{stray}"})
    assert error.parameter == parameter
    assert error.message == f"The {parameter} has a character that is not allowed: U+{ord(stray):04X} at 5."


@pytest.mark.parametrize("value", [None, 7, True, b"fox", ["fox"]])
def test_a_prompt_that_is_not_text_is_refused(value: object) -> None:
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
def test_a_format_is_sent_as_the_server_spells_it(asked: str | None, sent: str) -> None:
    result = resolved(output_format=asked)
    assert (result.output_format, result.to_wire().output_format) == (sent, sent)
    again = resolve(result.as_request(), KLEIN, draw_seed=lambda: 1)
    assert again.output_format == sent


@pytest.mark.parametrize("value", ["gif", "", 1, True, ["png"]])
def test_a_format_that_no_server_generates_is_refused(value: object) -> None:
    error = refused(output_format=value)
    assert (error.parameter, error.allowed) == ("output_format", "one of png, jpeg, webp")


@pytest.mark.parametrize("prompt", ["", "   \n", "x" * 20_001, "x" * 1_000_000], ids=len)
def test_i01_a_prompt_outside_the_limits_is_refused_with_the_limit(prompt: str) -> None:
    error = refused(prompt=prompt)
    assert error.allowed in {"text of 1 to 20000 characters", "text of at most 20000 characters"}
    assert "xxx" not in error.message


@pytest.mark.parametrize("prompt", ["x", "x" * 10_000])
def test_i01_a_prompt_within_the_limits_is_sent_completely(prompt: str) -> None:
    assert resolved(prompt=prompt).to_wire().prompt == prompt


@pytest.mark.parametrize("stray", ["\x00", "\x1b[31m", "\x9b", "\ud800"], ids=ascii)
def test_i02_a_character_that_is_not_text_is_refused_and_not_repeated(stray: str) -> None:
    error = refused(prompt=f"a fox{stray}")
    assert error.message.isprintable()
    assert f"U+{ord(stray[0]):04X} at 5" in error.message


@pytest.mark.parametrize(
    "prompt", ["cafe\u0301", "a \u202efox\u202c", "\U0001f468\u200d\U0001f469\u200d\U0001f467"]
)
def test_i02_unusual_text_reaches_the_model_unchanged_and_never_a_file_name(prompt: str) -> None:
    assert json.loads(resolved(prompt=prompt).to_wire().to_json())["prompt"] == prompt
    assert re.fullmatch("[a-z0-9_]+", automatic_stem(prompt, datetime(2026, 2, 18, tzinfo=UTC)))


@pytest.mark.parametrize("value", [True, "7", 7.0])
def test_i04_a_seed_that_only_looks_like_an_integer_is_refused(value: object) -> None:
    assert refused(seed=value).parameter == "seed"


@pytest.mark.parametrize("value", [2**63, 2**70, -(2**63) - 1])
def test_i05_a_seed_beyond_64_bits_is_refused_with_the_best_range(value: int) -> None:
    assert "preferably from 0 to 4294967295" in refused(seed=value).allowed


@pytest.mark.parametrize("value", [-(2**63), -1, 0, 2**32, 2**63 - 1])
def test_i05_every_64_bit_seed_is_sent_unchanged(value: int) -> None:
    assert resolved(seed=value).to_wire().seed == value


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("num_inference_steps", 0),
        ("num_inference_steps", 201),
        ("guidance_scale", -1),
        ("guidance_scale", 20.1),
    ],
)
def test_i06_what_the_server_would_refuse_is_refused_here_with_the_bounds(
    parameter: str, value: object
) -> None:
    """A number of images per request is none of a caller's parameters: one is sent for each image."""
    error = refused(**{parameter: value})
    assert (error.parameter, error.allowed) == (
        parameter,
        "an integer from 1 to 200" if parameter == "num_inference_steps" else "a number from 0 to 20",
    )


def test_a_transparent_background_is_refused_with_the_models_that_generate_layers() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(request(background="Transparent"), KLEIN, draw_seed=lambda: 1, known=REGISTRY)
    assert caught.value.message == (
        "black-forest-labs/FLUX.2-klein-4B makes opaque images. Models that split an image into transparent "
        "layers: Qwen/Qwen-Image-Layered."
    )
    assert resolved(background="opaque").background is None
    assert "a kind of background" in refused(background="blue").message
