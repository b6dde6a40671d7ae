"""What a file says, and how much of it a request can hold."""

import json
import math

import pytest
from vllm_image_core.provenance.facts import (
    Facts,
    as_list,
    as_object,
    bound_settings,
    bound_text,
    build_request,
    is_json,
    json_object,
    number,
)
from vllm_image_core.requests.image_request import ImageRequest


def test_valid_settings_are_used() -> None:
    facts = Facts(
        tool="invokeai",
        prompt="a red fox\nin the snow",
        negative_prompt="blurry",
        width=512,
        height="768",
        num_inference_steps=20.0,
        guidance_scale="7.5",
        seed="-9223372036854775808",
    )
    assert build_request(facts) == (
        ImageRequest(
            prompt="a red fox\nin the snow",
            negative_prompt="blurry",
            width=512,
            height=768,
            num_inference_steps=20,
            guidance_scale=7.5,
            seed=-(2**63),
        ),
        (),
    )


@pytest.mark.parametrize(
    "steps", [0, 201, -1, "many", True, [20], math.nan, math.inf, 10**400, 20.5, "9" * 50]
)
def test_invalid_steps_are_dropped_and_reported(steps: object) -> None:
    request, notes = build_request(Facts(tool="comfyui", prompt="fox", num_inference_steps=steps))
    assert request == ImageRequest(prompt="fox")
    assert len(notes) == 1
    assert notes[0].startswith("The file's number of steps was ignored: num_inference_steps: ")
    assert len(notes[0]) < 400


@pytest.mark.parametrize("seed", [2**63, 2**64 - 1, -(2**63) - 1, False, "x", {}])
def test_an_invalid_seed_is_dropped_and_reported(seed: object) -> None:
    request, notes = build_request(Facts(tool="comfyui", prompt="fox", seed=seed))
    assert (request.seed, len(notes)) == (None, 1)


@pytest.mark.parametrize("guidance", [math.nan, math.inf, -1, 20.1, "nan", True])
def test_an_invalid_guidance_scale_is_dropped(guidance: object) -> None:
    request, notes = build_request(Facts(tool="comfyui", prompt="fox", guidance_scale=guidance))
    assert (request.guidance_scale, len(notes)) == (None, 1)


def test_a_file_without_a_prompt_is_reported() -> None:
    request, notes = build_request(Facts(tool="vllm-image", seed=7))
    assert request == ImageRequest(prompt="", seed=7)
    assert notes == ("The file does not contain the prompt; give one to generate the image again.",)


def test_characters_that_are_not_text_are_removed() -> None:
    request, notes = build_request(Facts(tool="comfyui", prompt="a\0 \x1b[31mred\u202e fox\ud800\n狐"))
    assert request.prompt == "a [31mred fox\n狐"
    assert notes == ("The file's prompt was shortened, or characters that are not text were removed.",)


def test_text_is_cut_to_the_length_that_profiles_accept() -> None:
    assert bound_text("x" * 5_000_000) == "x" * 20_000
    assert bound_text("\0" * 5_000_000) == ""
    assert bound_text(["a list"]) is None


def test_settings_are_few_short_and_printable() -> None:
    hostile: dict[str, object] = {f"{n}" * 100: "\x1b\u202e" * 1000 for n in range(1000)}
    shown = bound_settings({"sampler": "euler", "list": [1], "huge": 10**5000, "eta": 0.5} | hostile)
    assert list(shown.items())[:2] == [("sampler", "euler"), ("eta", "0.5")]
    assert len(shown) <= 64
    assert all(len(name) <= 60 and len(value) <= 200 for name, value in shown.items())
    assert all(f"{name}{value}".isprintable() for name, value in shown.items())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("7.5", 7.5),
        ("-3", -3),
        ("x", None),
        ("", None),
        ("9" * 41, None),
        ("\uff12\uff10", None),
        (20, None),
    ],
)
def test_a_number_is_read_from_text(text: object, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("nothing", ["None", "null", "undefined", "", "N/A"])
def test_values_that_mean_none_are_dropped_without_a_note(nothing: str) -> None:
    facts = Facts(
        tool="forge", prompt="a pier", negative_prompt=nothing, seed=nothing, width=nothing, model=nothing
    )
    assert facts.without_placeholders() == Facts(tool="forge", prompt="a pier")


def test_what_could_not_be_decoded_is_reported() -> None:
    request, notes = build_request(Facts(tool="forge", prompt="a caf\ufffd"))
    assert request.prompt == "a caf\ufffd"
    assert notes == ("Parts of the file's prompt could not be read; they are shown as \ufffd.",)


def test_an_object_is_read_and_the_last_of_repeated_keys_counts() -> None:
    assert json_object('{"seed": 1, "seed": 2, "of": [1, {"a": null}]}') == {
        "seed": 2,
        "of": [1, {"a": None}],
    }


@pytest.mark.parametrize(
    "text",
    [
        *(None, 7, b"{}", "", "[]", "7", "null", "{", "no JSON", "\0", "\ud800"),
        pytest.param("[" * 500_000, id="deep lists"),
        pytest.param('{"a":' * 200_000, id="deep objects"),
        pytest.param('{"a":' * 90_000 + "1" + "}" * 90_000, id="deep and whole"),
        pytest.param('{"seed": ' + "9" * 100_000 + "}", id="a huge number"),
        pytest.param('{"a": "' + "x" * 1_048_576 + '"}', id="too long"),
    ],
)
def test_anything_but_an_object_is_an_empty_object(text: object) -> None:
    assert json_object(text) == {}


def test_nan_is_accepted() -> None:
    value = json_object('{"is_changed": NaN}')["is_changed"]
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("value", [None, 7, "x", [1], True])
def test_a_value_of_another_type_is_an_empty_object(value: object) -> None:
    assert as_object(value) == {}


@pytest.mark.parametrize("value", [None, 7, "x", {"a": 1}, True])
def test_a_value_of_another_type_is_an_empty_list(value: object) -> None:
    assert list(as_list(value)) == []


def test_an_object_in_a_string_or_alone_in_a_list_is_read_if_requested() -> None:
    for text in ('[{"seed": 1}]', json.dumps('{"seed": 1}'), ' {"seed": 1}'):
        assert json_object(text, wrapped=True) == {"seed": 1}
    assert json_object('[{"seed": 1}, {"seed": 2}]', wrapped=True) == {}


@pytest.mark.parametrize(
    "text", ["{}", "[]", ' {\n"a": 1}', '{"a": 1', '[{"a": 1', "[[" * 500, '{"a":' * 99, '"{}"']
)
def test_json_is_recognised_even_if_damaged(text: str) -> None:
    assert is_json(text)


@pytest.mark.parametrize(
    "text", ["", "a pier", "{a|b} pier", "[a:b:1]", '"a pier"', "{{a}}", "7", "{" * 20, '{"a"}']
)
def test_a_prompt_is_not_json(text: str) -> None:
    assert not is_json(text)
