"""Write an image's recipe, that is, how it was made, into its own file, and read it back."""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.metadata_blocks import KEYWORD as PARAMETERS
from vllm_image_core.imaging.picture import Picture, read_text, write_text
from vllm_image_core.provenance.facts import Facts, as_object, chosen_settings, usual_facts
from vllm_image_core.provenance.infotext import parameters_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.fields import PLAIN_FIELDS, SENT_TEXTS, plain_values
from vllm_image_core.requests.lora import read_lora
from vllm_image_core.text import TextTooLong

if TYPE_CHECKING:
    from vllm_image_core.requests.resolver import ResolvedRequest

KEYWORD = "vllm-image"
"""The keyword of the PNG text that holds all parameters as JSON."""

PREPARED = ("mask_box", "mask_polygon", "mask_feather", "outpaint", "upscale")
"""What a file records of how the images of an edit were prepared."""

_OF_EDITS = ("inputs", "strength", "layers", "resolution", *PREPARED)
_SERVER = frozenset({"server"})
_NOTHING = frozenset[str]()


def write_recipe(
    picture: Picture,
    request: "ResolvedRequest",
    *,
    model: str,
    facts: Mapping[str, object],
    metadata: Metadata | None = None,
) -> Picture:
    """Write all parameters into an image's file: as JSON, as text for other tools, and the source as XMP.

    Texts that the server wrote under the same keywords are replaced; its others are kept, since they belong
    to the image. If prompts are withheld, all of them are removed, since any may contain a prompt. If the
    prompts exceed the 64 KiB a JPEG can hold, the other settings are written without them. If the image's own
    XMP states a digital source type or the program that made it, these are kept.
    """
    wanted = metadata or Metadata()
    try:
        return write_text(picture, _texts(picture, request, model, facts, wanted), alone=not wanted.prompts)
    except TextTooLong:
        return write_text(picture, _texts(picture, request, model, facts, replace(wanted, prompts=False)))


def find_recipe(texts: Mapping[str, str]) -> str | None:
    """Return our own JSON from an image's metadata: a text chunk in a PNG, else an XMP property."""
    packet = texts.get(xmp.KEYWORD)
    return texts.get(KEYWORD) or (packet and xmp.read(packet).json) or None


def read_recipe(recipe: Mapping[str, object]) -> Facts:
    """Read the facts in our own JSON, whoever wrote it."""
    return replace(
        usual_facts("vllm-image", recipe),
        negative_prompt=recipe.get("negative_prompt"),
        num_inference_steps=recipe.get("num_inference_steps"),
        guidance_scale=recipe.get("guidance_scale"),
        style=recipe.get("style"),
        plain={each.name: recipe.get(each.name) for each in PLAIN_FIELDS},
        settings=chosen_settings(recipe, "profile", "guidance_field", "created"),
        edit={name: recipe.get(name) for name in _OF_EDITS} if recipe.get("operation") == "edit" else {},
    )


def _texts(
    picture: Picture, request: "ResolvedRequest", model: str, facts: Mapping[str, object], wanted: Metadata
) -> dict[str, str]:
    texts: dict[str, str] = {}
    recipe = _as_json(facts, wanted) if wanted.json else None
    if wanted.parameters:
        texts[PARAMETERS] = _parameters(request, model, wanted)
    if recipe is not None and picture.format == "png":
        texts[KEYWORD], recipe = recipe, None
    if wanted.xmp or recipe is not None:
        stated = xmp.read(read_text(picture.bytes).get(xmp.KEYWORD, ""))
        properties = xmp.Properties(
            json=recipe,
            source=stated.source or wanted.source if wanted.xmp else None,
            creator=stated.creator if wanted.xmp and wanted.prompts else None,
        )
        texts[xmp.KEYWORD] = xmp.packet(properties)
    return texts


def _parameters(request: "ResolvedRequest", model: str, wanted: Metadata) -> str:
    withheld = _NOTHING if wanted.prompts else SENT_TEXTS
    plain = {name: value for name, value in plain_values(request).items() if name not in withheld}
    return parameters_text(
        prompt=request.prompt if wanted.prompts else "",
        negative_prompt=request.negative_prompt if wanted.prompts else None,
        steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        width=request.width,
        height=request.height,
        model=model,
        **(plain if wanted.server else _without_server_path(plain)),
    )


def _as_json(facts: Mapping[str, object], metadata: Metadata) -> str:
    withheld = (_NOTHING if metadata.prompts else SENT_TEXTS) | (_NOTHING if metadata.server else _SERVER)
    written = _without(withheld, facts)
    if "receipt" in written:
        in_receipt = withheld if metadata.server else withheld | {"lora"}
        written["receipt"] = _without(in_receipt, as_object(written["receipt"]))
    return json.dumps(written if metadata.server else _without_server_path(written), ensure_ascii=False)


def _without_server_path(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts with a LoRA's name and scale, without its path on the server."""
    lora = facts.get("lora")
    return {**facts} if lora is None else {**facts, "lora": str(replace(read_lora(lora), path=None))}


def _without(names: AbstractSet[str], facts: Mapping[str, object]) -> dict[str, object]:
    return {name: fact for name, fact in facts.items() if name not in names}


def collect_facts(
    request: "ResolvedRequest", *, model: str, now: datetime, more: Mapping[str, object]
) -> dict[str, object]:
    """Collect the facts about how an image was made, by name.

    `more` facts are JSON values, such as the content hash and the receipt; None values are omitted.
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
        **plain_values(request),
        **({} if request.style is None else {"style": request.style}),
        "created": now.isoformat(timespec="seconds"),
        **{name: value for name, value in more.items() if value is not None},
    }
