"""How a picture was made, written into its own file."""

import json
from collections.abc import Mapping
from datetime import datetime

from vllm_image_core.infotext import KEYWORD as PARAMETERS
from vllm_image_core.infotext import parameters_text
from vllm_image_core.picture import Picture, with_text
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["KEYWORD", "recipe_facts", "with_recipe"]

KEYWORD = "vllm-image"
"""The keyword of the PNG text that holds all parameters as JSON."""


def with_recipe(
    picture: Picture, request: ResolvedRequest, *, model: str, facts: Mapping[str, object]
) -> Picture:
    """The picture with two texts: all parameters as JSON, and the ``parameters`` line that other tools read.

    Args:
        picture: As the server sent it; only PNG takes texts, other formats stay as they are.
        request: What was sent.
        model: The server's name for the model.
        facts: What the JSON holds; see ``recipe_facts``.
    """
    text = json.dumps(facts, ensure_ascii=False)
    return with_text(picture, {PARAMETERS: _parameters(request, model), KEYWORD: text})


def _parameters(request: ResolvedRequest, model: str) -> str:
    return parameters_text(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        width=request.width,
        height=request.height,
        model=model,
    )


def recipe_facts(
    request: ResolvedRequest, *, model: str, now: datetime, more: Mapping[str, str | float | None]
) -> dict[str, object]:
    """All that is told of how a picture was made, by name.

    Args:
        request: What was sent.
        model: The server's name for the model.
        now: When it was made.
        more: What is known besides, such as its key; None is left out.
    """
    return {
        "model": model,
        "profile": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "width": request.width,
        "height": request.height,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "guidance_field": request.guidance_field,
        "seed": request.seed,
        "created": now.isoformat(timespec="seconds"),
        **{name: value for name, value in more.items() if value is not None},
    }
