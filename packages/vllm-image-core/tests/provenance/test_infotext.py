"""The text that other tools read."""

import re

import pytest
from vllm_image_core.provenance.facts import Facts, build_request
from vllm_image_core.provenance.infotext import (
    facts_of_parameters,
    has_settings,
    parameters_text,
    unread_lines,
)


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


def test_an_empty_negative_prompt_has_no_line() -> None:
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
    )
    assert text.endswith(r'Model: "my, \"best\": model"')


AUTOMATIC1111 = (
    "masterpiece, a (red:1.2) fox,\nin the snow <lora:fox:0.8>\n"
    "Negative prompt: blurry,\nlow quality\n"
    "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, "
    'Model hash: 6ce0161689, Model: v1-5-pruned, Lora hashes: "fox: d7f2, hare: a1b2", Version: v1.10.1'
)


def test_the_text_of_automatic1111_is_read() -> None:
    assert facts_of_parameters(AUTOMATIC1111) == Facts(
        tool="automatic1111",
        prompt="masterpiece, a (red:1.2) fox,\nin the snow",
        plain={"lora": "fox:0.8"},
        negative_prompt="blurry,\nlow quality",
        width=512,
        height=768,
        num_inference_steps="20",
        guidance_scale="7",
        seed="965400086",
        model="v1-5-pruned",
        settings={
            "Sampler": "DPM++ 2M Karras",
            "Model hash": "6ce0161689",
            "Lora hashes": "fox: d7f2, hare: a1b2",
            "Version": "v1.10.1",
        },
    )


@pytest.mark.parametrize("templates", ["Template: a {red|blue} fox", "Template: a,\nb\nNegative Template: c"])
def test_templates_below_the_settings_are_omitted(templates: str) -> None:
    assert facts_of_parameters(f"{AUTOMATIC1111}\n{templates}") == facts_of_parameters(AUTOMATIC1111)


def test_a_prompt_that_begins_with_a_template_is_a_prompt() -> None:
    facts = facts_of_parameters("a fox\nTemplate: a fox")
    assert (facts.prompt, facts.seed) == ("a fox\nTemplate: a fox", None)


def test_what_is_written_here_is_read_back() -> None:
    text = parameters_text(
        prompt="a fox\n狐",
        negative_prompt="dark",
        steps=4,
        guidance_scale=1.0,
        seed=-7,
        width=64,
        height=32,
        model='my, "best": model',
    )
    assert facts_of_parameters(text) == Facts(
        tool="automatic1111",
        prompt="a fox\n狐",
        negative_prompt="dark",
        width=64,
        height=32,
        num_inference_steps="4",
        guidance_scale="1.0",
        seed="-7",
        model='my, "best": model',
    )


def test_forge_and_sd_next_are_told_apart() -> None:
    line = "fox\nSteps: 20, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 1, Size: 64x64"
    forge = facts_of_parameters(f"{line}, Version: f2.0.1v1.10.1-previous-527")
    assert (forge.tool, forge.guidance_scale) == ("forge", "3.5")
    assert facts_of_parameters(f"{line}, App: SD.Next, Version: 1234abc").tool == "sd.next"


def test_what_civitai_appends_does_not_override_the_settings() -> None:
    text = (
        'fox\nSteps: 4, Seed: 1, Size: 8x8, Model: mine, Civitai resources: [{"x":1, Seed: 9, Model: other}]'
    )
    facts = facts_of_parameters(text)
    assert (facts.seed, facts.model) == ("1", "mine")


def test_text_without_settings_is_a_prompt() -> None:
    facts = facts_of_parameters("a fox: red, in the snow\nNegative prompt: blurry")
    assert facts == Facts(tool="automatic1111", prompt="a fox: red, in the snow", negative_prompt="blurry")


def test_text_without_prompts_has_its_settings() -> None:
    facts = facts_of_parameters("Steps: 4, CFG scale: 1.0, Seed: 0, Size: 64x64")
    assert (facts.prompt, facts.seed, facts.width) == (None, "0", 64)


@pytest.mark.parametrize("text", ["", " \n ", '{"sui_image_params": {"prompt": "fox"}}'])
def test_text_in_another_form_says_nothing(text: str) -> None:
    assert not facts_of_parameters(text).has_settings


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        " " * 1_000_000 + "x",
        "\n" * 1_000_000 + "x",
        'a:"' * 300_000,
        'a:"\\\\' * 200_000,
        "a: b," * 200_000,
        "," * 1_000_000,
        "a " * 500_000 + ":",
        "Negative prompt:" * 60_000,
        "x\nSteps: 1, Seed: 2, Size: " + "9" * 100_000 + "x1",
    ],
)
@pytest.mark.timeout(60)
def test_hostile_text_is_read_quickly(text: str) -> None:
    assert isinstance(facts_of_parameters(text), Facts)


LINE = "Steps: 12, Sampler: DDIM, CFG scale: 6.5, Seed: 77, Size: 640x448"


@pytest.mark.parametrize(
    ("above", "prompt", "negative"),
    [
        ("a pier\nSteps: a long flight", "a pier\nSteps: a long flight", None),
        ("a pier\nSteps: 3, Seed: 5, Size: 2x2", "a pier\nSteps: 3, Seed: 5, Size: 2x2", None),
        (
            "a pier\nSteps: 3, Seed: 5, Size: 2x2\nNegative prompt: fog",
            "a pier\nSteps: 3, Seed: 5, Size: 2x2",
            "fog",
        ),
        ("a pier\nNegative prompt: Steps: 3, Seed: 5, Size: 2x2", "a pier", "Steps: 3, Seed: 5, Size: 2x2"),
        (
            "a pier\nNegative prompt: fog\nSteps: 3, Seed: 5, CFG scale: 2",
            "a pier",
            "fog\nSteps: 3, Seed: 5, CFG scale: 2",
        ),
        ("a pier\nMood: calm, Light: low, Lens: 35mm", "a pier\nMood: calm, Light: low, Lens: 35mm", None),
        ('{"scene": "a pier",\n"mood": "calm"}', '{"scene": "a pier",\n"mood": "calm"}', None),
    ],
)
def test_the_settings_begin_at_the_last_line_that_is_one(
    above: str, prompt: str, negative: str | None
) -> None:
    facts = facts_of_parameters(f"{above}\n{LINE}")
    assert (facts.prompt, facts.negative_prompt) == (prompt, negative)
    assert (facts.num_inference_steps, facts.seed, facts.width) == ("12", "77", 640)


@pytest.mark.parametrize(
    "settings",
    [
        LINE + ', Wildcard prompt: "a __boat__,\nat a pier\n\nin fog", Version: v1.7.0',
        LINE + ', Hires prompt: "x\nSteps: 3, Seed: 5, CFG scale: 2\ny", Version: v1.7.0',
        LINE + ', Hires prompt: "x\nSteps: 3, Seed: 5, CFG scale: 2", Version: v1.7.0',
        LINE + ', Hires prompt: "x\nNegative prompt: y\nz", Version: v1.7.0',
        LINE.replace(", CFG", ",\nCFG").replace(", Seed", ",\nSeed") + ", Version: v1.7.0",
        LINE.replace(", ", "\n") + "\nVersion: v1.7.0",
        LINE + ", Version: v1.7.0\nTemplate: a {pier|quay}\nNegative Template: Steps: 3",
    ],
)
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_settings_continue_over_further_lines(settings: str, line_break: str) -> None:
    text = f"a pier\nNegative prompt: fog\n{settings}"
    facts = facts_of_parameters(text.replace("\n", line_break))
    assert (facts.prompt, facts.negative_prompt, facts.seed) == ("a pier", "fog", "77")
    assert (facts.num_inference_steps, facts.guidance_scale, facts.width) == ("12", "6.5", 640)
    assert facts.settings["Version"] == "v1.7.0"
    assert unread_lines(text) == ""


def test_text_below_the_settings_is_kept_apart() -> None:
    text = f"a pier\n{LINE}, Wildcard prompt: a __boat__,\nat a pier, Version: v1"
    facts = facts_of_parameters(text)
    assert (facts.prompt, facts.seed) == ("a pier", "77")
    assert unread_lines(text) == "at a pier, Version: v1"


@pytest.mark.parametrize(
    "text",
    ["a pier\nSteps: stone, Seed: lotus, Size: huge", "a pier", "Steps: 5", "Steps: 3, wide", '{"Steps": 3}'],
)
def test_a_prompt_that_looks_like_settings_has_none(text: str) -> None:
    assert not has_settings(text)


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "prompt": "a pier",\n  "seed": 3\n}',
        '[{"prompt": "a pier"}, {"prompt": "a quay"}]',
        '["a pier"]',
        '{\n  "prompt": "a pi',
        "[" * 5000,
        '"{\\"prompt\\": \\"a pier\\"}"',
        "{}",
    ],
)
def test_json_is_never_a_prompt(text: str) -> None:
    assert not facts_of_parameters(text).has_settings


@pytest.mark.parametrize(
    "text", ["{red|grey} pier", "{{a pier}}", "[pier:quay:0.4]", '"a pier" in fog', "[[pier]]"]
)
def test_a_prompt_may_begin_with_a_bracket(text: str) -> None:
    assert facts_of_parameters(text).prompt == text


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE}\n" * 20_000,
        'Steps: 1, Seed: 2, a: "' + "x" * 60_000 + f'\n{LINE}, b: "' * 30,
        "Steps: 1\n" * 100_000,
        "Steps: 1, Seed: 1, " + 'a: "\n' * 100_000,
    ],
)
@pytest.mark.timeout(60)
def test_hostile_text_of_many_lines_is_read_quickly(text: str) -> None:
    assert isinstance(facts_of_parameters(text), Facts)


LORA_TEXT = """a red fox <lora:ink:0.8>
Steps: 4, CFG scale: 1.0, Seed: 42, Size: 64x64, Model: klein, lora: "ink=/loras/ink:0.8", flow_shift: 3.0"""


def test_a_lora_is_written_as_other_tools_name_it_and_read_back_with_its_path() -> None:
    text = parameters_text(
        prompt="a red fox",
        steps=4,
        guidance_scale=1.0,
        seed=42,
        width=64,
        height=64,
        model="klein",
        lora="ink=/loras/ink:0.8",
        flow_shift=3.0,
    )
    assert text == LORA_TEXT
    facts = facts_of_parameters(text)
    assert (facts.prompt, facts.plain) == ("a red fox", {"lora": "ink=/loras/ink:0.8", "flow_shift": "3.0"})
    assert build_request(facts)[0].flow_shift == 3.0


@pytest.mark.parametrize(
    ("prompt", "lora", "notes"),
    [
        ("a fox <lora:ink:0.8>", "ink:0.8", ()),
        ("a fox <lora:ink>", "ink:1", ()),
        ("a fox <LORA:ink v2:unet=0.5:dyn=8>", "ink v2:0.5", ()),
        (
            "a fox <lora:ink:0.8> <lora:wash:-0.25>",
            "ink:0.8",
            ("Only the first LoRA was kept, because a request has only one; also used: wash:-0.25.",),
        ),
    ],
)
def test_a_lora_in_a_prompt_becomes_that_of_the_request(
    prompt: str, lora: str, notes: tuple[str, ...]
) -> None:
    facts = facts_of_parameters(f"{prompt}\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64")
    assert (facts.prompt, facts.plain["lora"], facts.notes) == ("a fox", lora, notes)
    assert build_request(facts)[0].lora == lora
