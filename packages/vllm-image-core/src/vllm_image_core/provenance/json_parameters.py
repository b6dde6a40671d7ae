"""Settings as JSON, as other programs write them: Fooocus and Civitai, and NovelAI.

Those of the first two stand under `parameters`, those of NovelAI under `Comment`.

Source: Fooocus 2.5 (`modules/meta_parser.py`), the files of Civitai's own generator, and those of NovelAI.
"""

import re
from collections.abc import Mapping
from typing import Final

from vllm_image_core.provenance.comfyui import facts_of_prompt
from vllm_image_core.provenance.facts import Facts
from vllm_image_core.provenance.untrusted_json import as_list, as_object, json_object

__all__ = ["facts_of_comment", "facts_of_json"]

_RESOLUTION: Final = re.compile(r"\((\d{1,9}), ?(\d{1,9})\)", re.ASCII)
_NOVELAI: Final = frozenset(("uc", "scale", "sampler"))
"""What the JSON of no other program has together."""


def facts_of_json(found: Mapping[str, object]) -> Facts:
    """What an object under `parameters` tells: Fooocus's own, or Civitai's graph with its summary."""
    if "extraMetadata" in found:
        return _of_civitai(found)
    size = _RESOLUTION.fullmatch(str(found.get("resolution", ""))[:40])
    scheme = found.get("metadata_scheme", found.get("version"))
    return Facts(
        tool="fooocus" if str(scheme)[:7].casefold() == "fooocus" else "automatic1111",
        prompt=found.get("prompt"),
        negative_prompt=found.get("negative_prompt"),
        width=size and size[1],
        height=size and size[2],
        num_inference_steps=found.get("steps"),
        guidance_scale=found.get("guidance_scale"),
        seed=found.get("seed"),
        model=found.get("base_model"),
        settings=_settings(found, "performance", "styles", "sampler", "scheduler", "sharpness", "version"),
    )


def _of_civitai(found: Mapping[str, object]) -> Facts:
    """The summary, and what it leaves out from the graph beside it."""
    told, graph = json_object(found.get("extraMetadata")), facts_of_prompt(found)
    return Facts(
        tool="civitai",
        prompt=_first(told.get("prompt"), graph.prompt),
        negative_prompt=_first(told.get("negativePrompt"), graph.negative_prompt),
        width=_first(told.get("width"), graph.width),
        height=_first(told.get("height"), graph.height),
        num_inference_steps=_first(told.get("steps"), graph.num_inference_steps),
        guidance_scale=_first(told.get("cfgScale"), graph.guidance_scale),
        seed=_first(told.get("seed"), graph.seed),
        model=graph.model,
        settings={**graph.settings, **_settings(told, "sampler", "workflowId")},
    )


def facts_of_comment(found: Mapping[str, object]) -> Facts:
    """What NovelAI's object tells; newer models have their captions in a further one."""
    if not found.keys() >= _NOVELAI:
        return Facts(tool="novelai")
    return Facts(
        tool="novelai",
        prompt=_first(found.get("prompt"), _caption(found.get("v4_prompt"))),
        negative_prompt=_first(found.get("uc"), _caption(found.get("v4_negative_prompt"))),
        width=found.get("width"),
        height=found.get("height"),
        num_inference_steps=found.get("steps"),
        guidance_scale=found.get("scale"),
        seed=found.get("seed"),
        settings=_settings(found, "sampler", "noise_schedule", "cfg_rescale"),
    )


def _caption(prompt: object) -> object:
    """The whole picture's words, and after them those of each character."""
    caption = as_object(as_object(prompt).get("caption"))
    characters = (as_object(one).get("char_caption") for one in as_list(caption.get("char_captions"))[:16])
    words = [word for word in (caption.get("base_caption"), *characters) if isinstance(word, str) and word]
    return " | ".join(words) or None


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _settings(found: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: found[name] for name in names if name in found}
