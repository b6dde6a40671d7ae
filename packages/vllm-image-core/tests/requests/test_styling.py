"""A style fills in what a request leaves open; the receipt and a note say what it changed."""

import io
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import resolve_edit
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.styling import read_style

REGISTRY = Registry.builtin()
INK = Style(
    name="ink",
    prefix="An ink drawing of",
    suffix=", white paper",
    negative_prompt="color",
    settings={"num_inference_steps": 33, "guidance_scale": 6.0, "aspect_ratio": "16:9", "lora": "/l/ink:0.5"},
)


def profile_of(model: str) -> Profile:
    profile = REGISTRY.by_name(model)
    assert profile is not None
    return profile


def resolved(model: str = "Qwen/Qwen-Image", **values: Any) -> ResolvedRequest:  # noqa: ANN401 - the fields have several types
    given: dict[str, Any] = {"prompt": "a fox", "style": INK, **values}
    request = ImageRequest(**given)
    return resolve(request, profile_of(model), draw_seed=lambda: 1)


def test_a_style_adds_words_and_fills_in_settings() -> None:
    found = resolved()
    assert found.prompt == "An ink drawing of a fox, white paper"
    assert (found.negative_prompt, found.num_inference_steps, found.guidance_scale) == ("color", 33, 6.0)
    assert (str(found.size), found.lora, found.style) == ("1664x928", "ink=/l/ink:0.5", "ink")
    [note] = [note.message for note in found.notes if note.parameter == "style"]
    assert note == (
        "Style ink added words to the prompt, added to negative_prompt and set num_inference_steps, "
        "guidance_scale, aspect_ratio, lora."
    )


def test_values_of_the_request_win() -> None:
    own: dict[str, Any] = {"num_inference_steps": 10, "guidance_scale": 2.0, "width": 512, "height": 512}
    found = resolved(**own, negative_prompt="text", lora="/l/a")
    assert {name: getattr(found, name) for name in own} == own
    assert (found.negative_prompt, found.lora) == ("text, color", "a=/l/a:1")


def test_a_requested_quality_wins_for_the_values_it_sets() -> None:
    style = Style(name="slow", settings={"num_inference_steps": 90, "flow_shift": 2.0})
    model = "black-forest-labs/FLUX.1-dev"
    draft = resolved(model, style=style, quality="draft")
    assert draft.num_inference_steps == profile_of(model).quality["draft"].num_inference_steps
    assert draft.flow_shift == 2.0


def test_a_negative_prompt_is_omitted_if_the_model_does_not_read_it() -> None:
    found = resolved("black-forest-labs/FLUX.2-klein-4B")
    assert found.negative_prompt is None
    assert "left out its negative prompt, which black-forest-labs/FLUX.2-klein-4B does not support" in str(
        found.notes[0]
    )


def test_a_resolved_request_resolves_to_itself_although_it_names_its_style() -> None:
    first = resolved(seed=3)
    second = resolve(first.as_request(), profile_of("Qwen/Qwen-Image"), draw_seed=lambda: 1)
    assert (second.sent_values(), second.style) == (first.sent_values(), "ink")


def test_the_receipt_says_what_came_from_the_style() -> None:
    request = ImageRequest(prompt="a fox", style=INK, guidance_scale=4.0)
    receipt = resolve(request, profile_of("Qwen/Qwen-Image"), draw_seed=lambda: 1).receipt(request)
    lines = {line.parameter: (line.requested, line.sent, line.outcome, line.why) for line in receipt.lines}
    assert lines["prompt"] == ("a fox", "An ink drawing of a fox, white paper", "changed", "style ink")
    assert lines["negative_prompt"] == (None, "color", "filled in", "style ink")
    assert lines["num_inference_steps"] == (None, 33, "filled in", "style ink")
    assert lines["width"] == (None, 1664, "filled in", "style ink")
    assert lines["guidance_scale"][0] == 4.0
    assert lines["lora"] == (None, "ink=/l/ink:0.5", "filled in", "style ink")
    assert lines["style"][0] == "ink"


def test_an_edit_keeps_the_size_of_its_image() -> None:
    file = io.BytesIO()
    Image.new("RGB", (512, 512), "teal").save(file, "PNG")
    picture = Picture.check(file.getvalue(), max_pixels=10**6)
    request = EditRequest(prompt="make it night", style=INK, images=picture)
    found = resolve_edit(request, profile_of("Qwen/Qwen-Image-Edit-2511"), draw_seed=lambda: 1)
    assert found.size == Size(512, 512)
    assert found.prompt == "An ink drawing of make it night, white paper"
    assert (found.style, found.num_inference_steps) == ("ink", 33)


def test_a_name_that_no_studio_has_looked_up_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="style: 'ink' is not a style"):
        resolved(style="ink")


def test_a_table_becomes_the_style_that_it_was_made_from() -> None:
    style = read_style("ink", INK.as_table())
    assert style.settings == {**INK.settings, "lora": "ink=/l/ink:0.5"}
    assert read_style("ink", style.as_table()) == style


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"prefixes": "a"}, "'prefixes' is not a key of a style. Allowed: description, prefix"),
        ({"prefix": 7}, "prefix: 7 is not a string"),
        ({"settings": 7}, "settings is not a table"),
        ({"settings": {"seed": 7}}, "'settings.seed' is not a key"),
        ({"settings": {"num_inference_steps": 900}}, "settings.num_inference_steps: 900 is out of range"),
        ({"models": {"qwen": {"quality": "best"}}}, "'models.qwen.quality' is not a key"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidRequest, match="The style 'ink' cannot be used") as caught:
        read_style("ink", table)
    assert why in caught.value.message
