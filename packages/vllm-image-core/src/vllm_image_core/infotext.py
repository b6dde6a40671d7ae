"""The `parameters` text: a picture's settings as AUTOMATIC1111, Forge, SD.Next and Civitai read them.

    a red fox in the snow
    Negative prompt: blurry
    Steps: 28, CFG scale: 5.0, Seed: 42, Size: 1024x1024, Model: Qwen/Qwen-Image

Source: `create_infotext` and `parse_generation_parameters` in AUTOMATIC1111's stable-diffusion-webui 1.10.
"""

import json
from collections.abc import Mapping

KEYWORD = "parameters"
"""The keyword of the PNG text, the same in all of these tools."""


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


def _quoted(value: str | float) -> str:
    """A value as it is, or as a JSON string where a comma, colon or line break in it would end it early."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
