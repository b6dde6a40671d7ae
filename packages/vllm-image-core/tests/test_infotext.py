"""The text that other tools read."""

import re

from vllm_image_core.infotext import parameters_text


def read_as_automatic1111_does(text: str) -> dict[str, str]:
    """The pattern and the splitting of `parse_generation_parameters` in stable-diffusion-webui 1.10."""
    *lines, last = text.strip().split("\n")
    found = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    prompts: dict[str, list[str]] = {"Prompt": [], "Negative prompt": []}
    where = "Prompt"
    for line in lines:
        where = "Negative prompt" if line.startswith("Negative prompt:") else where
        prompts[where].append(line.strip().removeprefix("Negative prompt:").strip())
    return {name: "\n".join(lines) for name, lines in prompts.items()} | dict(found)


def test_the_text_has_the_prompts_and_then_a_line_of_settings() -> None:
    text = parameters_text(
        prompt="a red fox\nin the snow",
        negative_prompt="blurry",
        steps=28,
        guidance_scale=5.0,
        seed=42,
        width=1328,
        height=1024,
        model="Qwen/Qwen-Image",
    )
    assert text == (
        "a red fox\nin the snow\n"
        "Negative prompt: blurry\n"
        "Steps: 28, CFG scale: 5.0, Seed: 42, Size: 1328x1024, Model: Qwen/Qwen-Image"
    )
    assert read_as_automatic1111_does(text) == {
        "Prompt": "a red fox\nin the snow",
        "Negative prompt": "blurry",
        "Steps": "28",
        "CFG scale": "5.0",
        "Seed": "42",
        "Size": "1328x1024",
        "Model": "Qwen/Qwen-Image",
    }


def test_a_negative_prompt_of_nothing_has_no_line() -> None:
    for nothing in (None, "", " "):
        text = parameters_text(
            prompt="fox",
            negative_prompt=nothing,
            steps=4,
            guidance_scale=1.0,
            seed=0,
            width=64,
            height=64,
            model="m",
        )
        assert text == "fox\nSteps: 4, CFG scale: 1.0, Seed: 0, Size: 64x64, Model: m"


def test_a_value_that_would_end_early_is_quoted() -> None:
    text = parameters_text(
        prompt="fox",
        steps=4,
        guidance_scale=1.0,
        seed=0,
        width=64,
        height=64,
        model='my, "best": model',
        more={"Version": "vLLM-Omni 0.30.0"},
    )
    assert text.endswith(r'Model: "my, \"best\": model", Version: vLLM-Omni 0.30.0')
    assert read_as_automatic1111_does(text)["Version"] == "vLLM-Omni 0.30.0"
