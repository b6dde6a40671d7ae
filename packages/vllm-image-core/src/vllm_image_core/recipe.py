"""How a picture was made, written into its own file."""

import json
from datetime import datetime

from vllm_image_core.infotext import KEYWORD as PARAMETERS
from vllm_image_core.infotext import parameters_text
from vllm_image_core.picture import Picture, with_text
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["KEYWORD", "with_recipe"]

KEYWORD = "vllm-image"
"""The keyword of the PNG text that holds all parameters as JSON."""


def with_recipe(picture: Picture, request: ResolvedRequest, *, model: str, now: datetime) -> Picture:
    """The picture with two texts: all parameters as JSON, and the ``parameters`` line that other tools read.

    Args:
        picture: As the server sent it; only PNG takes texts, other formats stay as they are.
        request: What was sent.
        model: The server's name for the model.
        now: When it was made.
    """
    return with_text(
        picture, {PARAMETERS: _parameters(request, model), KEYWORD: _as_json(request, model, now)}
    )


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


def _as_json(request: ResolvedRequest, model: str, now: datetime) -> str:
    facts = {
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
    }
    return json.dumps(facts, ensure_ascii=False)
