"""Guidance and the negative prompt, in the fields that each model reads."""

import math

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


def resolved(profile: Profile = KLEIN, /, **asked: object) -> ResolvedRequest:
    return resolve(request(**asked), profile, draw_seed=lambda: 42)


def request(**asked: object) -> ImageRequest:
    """A request with values of any type, as they come from outside."""
    return ImageRequest(**{"prompt": "a red fox", **asked})  # type: ignore[arg-type] -- the point of the tests


def said(result: ResolvedRequest) -> dict[str, str]:
    return {note.parameter: note.message for note in result.notes}


def refused(**asked: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolved(**asked)
    assert len(caught.value.message) < 300
    return caught.value


def test_guidance_of_qwen_image_goes_into_true_cfg_scale_with_a_blank_negative_prompt() -> None:
    wire = resolved(QWEN).to_wire()
    assert (wire.true_cfg_scale, wire.guidance_scale, wire.negative_prompt) == (5.0, None, " ")


def test_z_image_turbo_gets_a_guidance_of_zero() -> None:
    wire = resolved(TURBO).to_wire()
    assert (wire.guidance_scale, wire.num_inference_steps, wire.negative_prompt) == (0.0, 9, None)
    assert b'"guidance_scale":0.0' in wire.to_json()


@pytest.mark.parametrize(("asked", "sent"), [(0, 1.0), (0.5, 1.0), (1.0, 1.0)])
def test_guidance_up_to_one_switches_it_off_on_qwen_image(asked: float, sent: float) -> None:
    result = resolved(QWEN, guidance_scale=asked)
    assert (result.guidance_scale, result.sent_guidance, result.guided) == (asked, sent, False)
    assert result.negative_prompt is None
    assert ("guidance_scale" in said(result)) == (asked != sent)


def test_guidance_is_not_switched_on_for_a_distilled_model_and_that_is_reported() -> None:
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
def test_guidance_that_costs_a_distilled_model_nothing_is_sent_as_requested(
    profile: Profile, asked: float
) -> None:
    result = resolved(profile, guidance_scale=asked)
    assert (result.sent_guidance, result.notes) == (asked, ())


def test_a_model_with_fixed_guidance_gets_that_one() -> None:
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


@pytest.mark.parametrize("profile", [KLEIN, TURBO])
def test_a_negative_prompt_is_dropped_with_a_note_if_the_model_does_not_read_it(profile: Profile) -> None:
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
def test_a_negative_prompt_without_guidance_is_reported_to_have_no_effect(
    profile: Profile, off: float
) -> None:
    result = resolved(profile, guidance_scale=off, negative_prompt="blurry")
    assert (result.negative_prompt, result.guided) == ("blurry", False)
    assert said(result)["negative_prompt"] == (
        "negative_prompt has no effect: this guidance_scale turns guidance off."
    )


def test_a_blank_negative_prompt_needs_no_note() -> None:
    assert resolved(KLEIN, negative_prompt=" ").notes == ()
    assert resolved(Z_IMAGE, guidance_scale=0, negative_prompt="").notes == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "inf"])
def test_i03_guidance_that_is_not_a_finite_number_is_refused_first(value: object) -> None:
    assert refused(guidance_scale=value, prompt="a fox").parameter == "guidance_scale"


def test_an_unknown_model_whose_name_says_distilled_gets_the_requested_guidance() -> None:
    guessed = REGISTRY.find("acme/painter-turbo").profile
    assert resolved(guessed).sent_guidance == 0.0
    assert resolved(guessed, guidance_scale=3.5).sent_guidance == 3.5
