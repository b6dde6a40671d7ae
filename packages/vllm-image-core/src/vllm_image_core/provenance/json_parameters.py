"""Read settings that SwarmUI, Fooocus, RuinedFooocus, Civitai, NovelAI and others write as JSON.

Most are in the text `parameters`, or in EXIF's UserComment; NovelAI's are in `Comment`, and those of Draw
Things in XMP. Easy Diffusion uses the same names for separate PNG texts.

Source: Fooocus 2.5 (`modules/meta_parser.py`), and files written by the others: SwarmUI 0.9, Civitai's own
generator, and NovelAI since 2022.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from vllm_image_core.provenance.comfyui import facts_of_prompt
from vllm_image_core.provenance.comfyui_workflow import facts_of_workflow
from vllm_image_core.provenance.facts import (
    Facts,
    Tool,
    as_list,
    as_object,
    chosen_settings,
    first_of,
    json_object,
    usual_facts,
)

_RESOLUTION: Final = re.compile(r"\(?(\d{1,9})(?:, ?| ?[xX\u00d7] ?)(\d{1,9})\)?", re.ASCII)
_NOVELAI: Final = frozenset(("uc", "scale", "sampler"))
"""Keys that occur together only in NovelAI's JSON."""

_DRAW_THINGS: Final = frozenset(("c", "uc"))
_MAX_NAMES: Final = 256
_MAX_NODES: Final = 4096
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "positiveprompt", "positive"),
    "negative": ("negativeprompt", "negative"),
    "steps": ("steps", "numinferencesteps"),
    "guidance": ("guidancescale", "cfgscale", "cfg", "distilledcfgscale"),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
    "size": ("resolution", "size"),
    "model": (
        *("basemodel", "basemodelname", "usestablediffusionmodel", "stablediffusionmodel"),
        *("model", "modelname", "checkpoint"),
    ),
}
"""The names that programs use for each setting, in lower case, without spaces and underscores."""

_SHOWN: Final = frozenset(
    (
        *("performance", "styles", "sampler", "samplername", "scheduler", "schedulername", "sharpness"),
        *("version", "software", "swarm_version", "clipskip", "vaemodel", "usevaemodel", "vae", "strength"),
    )
)
_NO_LETTERS: Final = re.compile("[^a-z0-9]")


def facts_of_json(found: Mapping[str, object]) -> Facts:
    """Read a JSON object that is a text of its own, in the format of the program its keys suggest."""
    if "extraMetadata" in found:
        return _facts_of_civitai(found)
    swarm = as_object(found.get("sui_image_params"))
    if swarm:
        return _facts_of_swarmui(swarm, as_object(found.get("sui_extra_data")))
    comment = found.get("Comment")
    if isinstance(comment, str):
        return facts_of_comment(json_object(comment), description=found.get("Description"))
    if found.keys() >= _DRAW_THINGS:
        return _by_names({**found, "prompt": found["c"], "negative": found["uc"]}, "draw-things")
    if found.keys() >= _NOVELAI:
        return facts_of_comment(found)
    return _facts_of_graph(found) or _by_names(found, _tool(found))


def facts_of_texts(texts: Mapping[str, str]) -> Facts:
    """Read PNG texts that hold one setting each, as Easy Diffusion writes them."""
    tool = _tool(texts)
    return _by_names(texts, tool) if tool == "easy-diffusion" else Facts(tool="easy-diffusion")


def _tool(found: Mapping[str, object]) -> Tool:
    """Recognise the program by its name or its keys; "automatic1111" for any other."""
    scheme = found.get("metadata_scheme", found.get("version", found.get("Version")))
    if str(found.get("software"))[:40].replace(" ", "") == "RuinedFooocus":
        return "ruinedfooocus"
    if any(str(name)[:7].casefold() == "fooocus" for name in (scheme, found.get("software"))):
        return "fooocus"
    names = _plain(found).keys()
    easy = names & {"usestablediffusionmodel", "stablediffusionmodel"}
    return (
        "easy-diffusion"
        if easy or names >= {"negativeprompt", "numinferencesteps", "samplername"}
        else "automatic1111"
    )


def _by_names(found: Mapping[str, object], tool: Tool) -> Facts:
    plain = _plain(found)

    def first(what: str) -> object:
        return first_of(*(plain.get(name) for name in _NAMES[what]))

    size = _RESOLUTION.match(str(first("size") or "")[:40])
    if tool == "draw-things":
        plain["guidancescale"] = plain.get("scale")
    return Facts(
        tool=tool,
        prompt=first("prompt"),
        negative_prompt=first("negative"),
        width=first_of(first("width"), size and size[1]),
        height=first_of(first("height"), size and size[2]),
        num_inference_steps=first("steps"),
        guidance_scale=first("guidance"),
        seed=first("seed"),
        model=first("model"),
        settings={
            name: value
            for name, value in islice(found.items(), _MAX_NAMES)
            if _NO_LETTERS.sub("", name.casefold()[:40]) in _SHOWN
        },
    )


def _plain(found: Mapping[str, object]) -> dict[str, object]:
    """Normalise names to lower case without spaces and underscores; if two become equal, the first counts."""
    plain: dict[str, object] = {}
    for name, value in islice(found.items(), _MAX_NAMES):
        plain.setdefault(_NO_LETTERS.sub("", name.casefold()[:40]), value)
    return plain


def _facts_of_swarmui(found: Mapping[str, object], more: Mapping[str, object]) -> Facts:
    """Read the parameters; the prompt as it was typed may be next to them."""
    return replace(
        usual_facts("swarmui", found),
        prompt=first_of(found.get("prompt"), more.get("original_prompt"), found.get("original_prompt")),
        negative_prompt=found.get("negativeprompt"),
        guidance_scale=first_of(found.get("fluxguidancescale"), found.get("cfgscale")),
        settings=chosen_settings(found, "sampler", "scheduler", "vae", "aspectratio", "swarm_version"),
    )


def _facts_of_graph(found: Mapping[str, object]) -> Facts | None:
    """Read a ComfyUI graph, which some of its nodes write into EXIF; None if this is not one."""
    inner, workflow = found.get("prompt"), found.get("workflow")
    graph = as_object(inner) or json_object(inner)
    drawn = as_object(workflow) or json_object(workflow)
    if any("class_type" in as_object(node) for node in islice(found.values(), _MAX_NODES)):
        graph = found
    facts = facts_of_prompt(graph) if graph else None
    if drawn and not (facts and facts.has_settings):
        facts = facts_of_workflow(drawn)
    return facts


def _facts_of_civitai(found: Mapping[str, object]) -> Facts:
    """Read Civitai's summary, and whatever it lacks from the graph next to it."""
    summary, graph = json_object(found.get("extraMetadata")), facts_of_prompt(found)
    return Facts(
        tool="civitai",
        prompt=first_of(summary.get("prompt"), graph.prompt),
        negative_prompt=first_of(summary.get("negativePrompt"), graph.negative_prompt),
        width=first_of(summary.get("width"), graph.width),
        height=first_of(summary.get("height"), graph.height),
        num_inference_steps=first_of(summary.get("steps"), graph.num_inference_steps),
        guidance_scale=first_of(summary.get("cfgScale"), graph.guidance_scale),
        seed=first_of(summary.get("seed"), graph.seed),
        model=graph.model,
        settings={**graph.settings, **chosen_settings(summary, "sampler", "workflowId")},
    )


def facts_of_comment(found: Mapping[str, object], *, description: object = None) -> Facts:
    """Read NovelAI's object; newer models have their captions in an object within it.

    The `description` next to it has the prompt in the earliest files.
    """
    if not found.keys() >= _NOVELAI and description is None:
        return Facts(tool="novelai")
    return replace(
        usual_facts("novelai", found),
        prompt=first_of(found.get("prompt"), _caption(found.get("v4_prompt")), description),
        negative_prompt=first_of(found.get("uc"), _caption(found.get("v4_negative_prompt"))),
        guidance_scale=found.get("scale"),
        model=None,
        settings=chosen_settings(found, "sampler", "noise_schedule", "cfg_rescale", "strength", "noise"),
    )


def _caption(prompt: object) -> object:
    """Join the caption of the complete image with those of its characters."""
    caption = as_object(as_object(prompt).get("caption"))
    characters = (as_object(one).get("char_caption") for one in as_list(caption.get("char_captions"))[:16])
    words = [word for word in (caption.get("base_caption"), *characters) if isinstance(word, str) and word]
    return " | ".join(words) or None
