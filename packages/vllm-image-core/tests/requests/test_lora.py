"""A LoRA is read as people write it, found by its name in the profile, and sent as the server takes it."""

import pytest
from vllm_image_core import ImageRequest, InvalidRequest, Registry, resolve
from vllm_image_core.requests import limits
from vllm_image_core.requests.lora import LoraChoice, read_lora
from vllm_omni_client.models import Lora

KLEIN = Registry.builtin().by_name("black-forest-labs/FLUX.2-klein-4B")
assert KLEIN is not None
WITH_INK = KLEIN.model_copy(update={"loras": {"Ink": "/loras/ink"}})


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("/loras/ink.safetensors:0.8", LoraChoice(name="ink", path="/loras/ink.safetensors", scale=0.8)),
        ("/loras/ink", LoraChoice(name="ink", path="/loras/ink")),
        ("someone/ink-lora:-1", LoraChoice(name="ink-lora", path="someone/ink-lora", scale=-1)),
        ("wash=/loras/v2:.5", LoraChoice(name="wash", path="/loras/v2", scale=0.5)),
        ("/loras/a=b:c/ink", LoraChoice(name="ink", path="/loras/a=b:c/ink")),
        (r"C:\loras\ink.pt:2", LoraChoice(name="ink", path=r"C:\loras\ink.pt", scale=2)),
        ("ink:0.8", LoraChoice(name="ink", scale=0.8)),
        (" <lora:ink:0.8> ", LoraChoice(name="ink", scale=0.8)),
    ],
)
def test_a_lora_is_read_as_people_write_it(text: str, choice: LoraChoice) -> None:
    assert read_lora(text) == choice
    assert read_lora(str(choice)) == choice


@pytest.mark.parametrize(
    "value", ["", "  ", "a\nb", "=/loras/ink", "ink=", "\x07", "x" * 5_000, 7, {"scale": 1}]
)
def test_text_that_names_no_lora_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check("lora", value)
    assert caught.value.parameter == "lora"


@pytest.mark.parametrize(
    "value",
    [
        Lora(name="ink", path="/loras/ink", scale=0.5, int_id=3),
        {"name": "ink", "path": "/loras/ink", "scale": 0.5},
        {"path": "/loras/ink", "scale": 0.5},
        ["/loras/ink:0.5"],
        "/loras/ink:0.5",
    ],
)
def test_an_object_with_name_path_and_scale_means_the_same_as_its_text(value: object) -> None:
    assert limits.check("lora", value) == "ink=/loras/ink:0.5"


def test_a_name_is_looked_up_in_the_profile_of_the_model() -> None:
    request = ImageRequest(prompt="a fox", lora="ink:0.6")
    resolved = resolve(request, WITH_INK, draw_seed=lambda: 1)
    assert resolved.lora == "Ink=/loras/ink:0.6"
    assert resolved.to_wire().lora == Lora(name="Ink", path="/loras/ink", scale=0.6)
    assert resolve(resolved.as_request(), WITH_INK, draw_seed=lambda: 2).lora == resolved.lora
    line = next(each for each in resolved.receipt(request).lines if each.parameter == "lora")
    assert (line.requested, line.sent, line.outcome) == ("ink:0.6", "Ink=/loras/ink:0.6", "as asked")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(ImageRequest(prompt="a fox", lora="wash"), WITH_INK, draw_seed=lambda: 1)
    assert caught.value.message == (
        "lora: 'wash' is not a path on the server, and the profile of black-forest-labs/FLUX.2-klein-4B "
        "has no LoRA with this name. LoRAs of this profile: Ink."
    )


def test_several_loras_are_refused_because_the_server_accepts_one() -> None:
    with pytest.raises(InvalidRequest, match="vLLM-Omni takes one per request"):
        limits.check("lora", ["/loras/ink", "/loras/wash:0.5"])
