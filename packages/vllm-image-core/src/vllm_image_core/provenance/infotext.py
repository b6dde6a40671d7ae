"""The `parameters` text: a picture's settings as AUTOMATIC1111, Forge, SD.Next and Civitai read them.

    a red fox in the snow
    Negative prompt: blurry
    Steps: 28, CFG scale: 5.0, Seed: 42, Size: 1024x1024, Model: Qwen/Qwen-Image

Source: `create_infotext` and `parse_generation_parameters` in AUTOMATIC1111's stable-diffusion-webui 1.10.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from vllm_image_core.parameters.size import Size
from vllm_image_core.provenance.facts import Facts, Tool

__all__ = ["KEYWORD", "facts_of_parameters", "parameters_text"]

KEYWORD = "parameters"
"""The keyword of the PNG text, the same in all of these tools."""

_NEGATIVE: Final = "Negative prompt:"
_TEMPLATES: Final = ("Template:", "Negative Template:")
_MAX_CHARACTERS: Final = 1_048_576
_MAX_SETTINGS: Final = 200
_MAX_LINE_CHARACTERS: Final = 65_536
_LEAST_SETTINGS: Final = 3
"""Of fewer, AUTOMATIC1111 takes the last line for a part of the prompt."""

_TAKEN: Final = frozenset(
    ("Steps", "CFG scale", "Distilled CFG Scale", "Seed", "Size", "Model", "Base Model")
)
_SETTING: Final = re.compile(r"""\s{0,8}(\w[\w \-/]{0,59}):\s{0,8}("(?:\\.|[^\\"]){0,10000}"|[^,]*)(?:,|$)""")
_SIZE: Final = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)


def parameters_text(
    *,
    prompt: str,
    negative_prompt: str | None = None,
    steps: int,
    guidance_scale: float,
    seed: int,
    width: int,
    height: int,
    model: str,
    more: Mapping[str, str | int | float] | None = None,
) -> str:
    """The settings of one picture, in the form that other tools read.

    Args:
        prompt: As it was sent; may have several lines. Left out where it is empty.
        negative_prompt: Left out where there is none, or nothing but spaces.
        steps: Inference steps.
        guidance_scale: The CFG scale, as the caller names it.
        seed: As it was sent.
        width: Pixels.
        height: Pixels.
        model: The model's name.
        more: Other settings, after these, by the name under which they are shown.
    """
    settings: dict[str, str | int | float] = {
        "Steps": steps,
        "CFG scale": guidance_scale,
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": model,
        **(more or {}),
    }
    lines = [prompt] if prompt else []
    if negative_prompt and negative_prompt.strip():
        lines.append(f"Negative prompt: {negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items()))
    return "\n".join(lines)


def facts_of_parameters(text: str) -> Facts:
    """What a text in this form tells: the prompts line by line, then the last line's settings by their names.

    Of a setting that is named twice the first counts, which the tool itself wrote: what others append, such
    as Civitai's resources, comes after.
    """
    lines = text[:_MAX_CHARACTERS].strip().split("\n")
    if lines[-1].startswith("{"):
        return Facts(tool="automatic1111")  # some tools have JSON of their own under the same keyword
    lines, settings = _divided(lines)
    prompt, negative = _prompts(lines)
    size = _size(settings.get("Size", ""))
    return Facts(
        tool=_tool(settings),
        prompt=prompt or None,
        negative_prompt=negative or None,
        width=size.width if size else None,
        height=size.height if size else None,
        num_inference_steps=settings.get("Steps"),
        guidance_scale=settings.get("Distilled CFG Scale", settings.get("CFG scale")),
        seed=settings.get("Seed"),
        model=settings.get("Model", settings.get("Base Model")),
        settings={name: value for name, value in settings.items() if name not in _TAKEN},
    )


def _divided(lines: list[str]) -> tuple[list[str], dict[str, str]]:
    """The lines of the prompts, and the settings of the last line.

    Templates that an extension wrote below them, of prompts with alternatives, are left out.
    """
    settings = _settings(lines[-1])
    if len(settings) >= _LEAST_SETTINGS:
        return lines[:-1], settings
    template = next((at for at, line in enumerate(lines) if line.startswith(_TEMPLATES)), 0)
    above = _settings(lines[template - 1]) if template else {}
    return (lines[: template - 1], above) if len(above) >= _LEAST_SETTINGS else (lines, {})


def _prompts(lines: list[str]) -> tuple[str, str]:
    """All before the line that begins the negative prompt, and all from there on."""
    start = next((at for at, line in enumerate(lines) if line.strip().startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).strip().removeprefix(_NEGATIVE)
    return "\n".join(lines[:start]).strip(), negative.strip()


def _settings(line: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    line, position = line[:_MAX_LINE_CHARACTERS], 0
    for _ in range(_MAX_SETTINGS):
        found = _SETTING.match(line, position)
        if found:
            settings.setdefault(found[1], _unquoted(found[2].strip()))
        position = found.end() if found else line.find(",", position) + 1
        if not 0 < position < len(line):
            break
    return settings


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value


def _size(text: str) -> Size | None:
    found = _SIZE.fullmatch(text)
    return Size(int(found[1]), int(found[2])) if found else None


def _tool(settings: Mapping[str, str]) -> Tool:
    if settings.get("App") == "SD.Next":
        return "sd.next"
    if settings.get("Version", "").startswith("Fooocus"):
        return "fooocus"
    return "forge" if re.match(r"(f\d|neo|forge)", settings.get("Version", "")) else "automatic1111"


def _quoted(value: str | float) -> str:
    """A value as it is, or as a JSON string where a comma, colon or line break in it would end it early."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
