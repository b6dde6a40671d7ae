"""A recipe: how a picture was made, written into its own file."""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.metadata_blocks import KEYWORD as PARAMETERS
from vllm_image_core.imaging.picture import Picture, read_text, with_text
from vllm_image_core.provenance.facts import Facts, as_object
from vllm_image_core.provenance.infotext import parameters_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.resolver import ResolvedRequest
from vllm_image_core.text import TextTooLong

__all__ = ["KEYWORD", "facts_of_recipe", "recipe_facts", "recipe_in", "with_recipe"]

KEYWORD = "vllm-image"
"""The keyword of the PNG text that holds all parameters as JSON."""

_OF_EDITS = ("inputs", "strength", "layers", "resolution")
_PROMPTS = frozenset({"prompt", "negative_prompt"})
_SERVER = frozenset({"server"})
_NOTHING = frozenset[str]()


def with_recipe(
    picture: Picture,
    request: ResolvedRequest,
    *,
    model: str,
    facts: Mapping[str, object],
    metadata: Metadata | None = None,
) -> Picture:
    """The picture with all parameters in its file: as JSON, for other tools, and with where it comes from.

    Texts that the server wrote under the same keywords are replaced, and its others are kept: they belong to
    the picture. Where prompts are kept back, all of them are removed, since a prompt may be in any. A prompt
    that is longer than the 64 KiB for which a JPEG has room is left out of it.

    Args:
        picture: As the server sent it. What its own XMP says of its digital source type and
            of the program that made it stands.
        request: What was sent.
        model: The server's name for the model.
        facts: What the JSON holds; see ``recipe_facts``.
        metadata: What is told; None for everything.
    """
    told = metadata or Metadata()
    try:
        return with_text(picture, _texts(picture, request, model, facts, told), alone=not told.prompts)
    except TextTooLong:
        return with_text(picture, _texts(picture, request, model, facts, replace(told, prompts=False)))


def recipe_in(texts: Mapping[str, str]) -> str | None:
    """Our own JSON among a picture's texts: its own text in a PNG, a property in XMP elsewhere."""
    return texts.get(KEYWORD) or xmp.read(texts.get(xmp.KEYWORD, "")).json


def facts_of_recipe(recipe: Mapping[str, object]) -> Facts:
    """What our own JSON tells, whoever wrote it."""
    return Facts(
        tool="vllm-image",
        prompt=recipe.get("prompt"),
        negative_prompt=recipe.get("negative_prompt"),
        width=recipe.get("width"),
        height=recipe.get("height"),
        num_inference_steps=recipe.get("num_inference_steps"),
        guidance_scale=recipe.get("guidance_scale"),
        seed=recipe.get("seed"),
        model=recipe.get("model"),
        settings={name: recipe[name] for name in ("profile", "guidance_field", "created") if name in recipe},
        edit={name: recipe.get(name) for name in _OF_EDITS} if recipe.get("operation") == "edit" else {},
    )


def _texts(
    picture: Picture, request: ResolvedRequest, model: str, facts: Mapping[str, object], told: Metadata
) -> dict[str, str]:
    texts: dict[str, str] = {}
    recipe = _as_json(facts, told) if told.json else None
    if told.parameters:
        texts[PARAMETERS] = _parameters(request, model, prompts=told.prompts)
    if recipe is not None and picture.format == "png":
        texts[KEYWORD], recipe = recipe, None
    if told.xmp or recipe is not None:
        stated = xmp.read(read_text(picture.bytes).get(xmp.KEYWORD, ""))
        properties = xmp.Properties(
            json=recipe,
            source=stated.source or told.source if told.xmp else None,
            creator=stated.creator if told.xmp and told.prompts else None,
        )
        texts[xmp.KEYWORD] = xmp.packet(properties)
    return texts


def _parameters(request: ResolvedRequest, model: str, *, prompts: bool) -> str:
    return parameters_text(
        prompt=request.prompt if prompts else "",
        negative_prompt=request.negative_prompt if prompts else None,
        steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        width=request.width,
        height=request.height,
        model=model,
    )


def _as_json(facts: Mapping[str, object], metadata: Metadata) -> str:
    kept_back = (_NOTHING if metadata.prompts else _PROMPTS) | (_NOTHING if metadata.server else _SERVER)
    told = _without(kept_back, facts)
    if "receipt" in told:
        told["receipt"] = _without(kept_back, as_object(told["receipt"]))
    return json.dumps(told, ensure_ascii=False)


def _without(names: AbstractSet[str], facts: Mapping[str, object]) -> dict[str, object]:
    return {name: fact for name, fact in facts.items() if name not in names}


def recipe_facts(
    request: ResolvedRequest, *, model: str, now: datetime, more: Mapping[str, object]
) -> dict[str, object]:
    """All that is told of how a picture was made, by name.

    Args:
        request: What was sent.
        model: The server's name for the model.
        now: When it was made.
        more: What is known besides, such as its key and its receipt, as JSON has it; None is left out.
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
