"""A ComfyUI workflow as it was drawn: the same graph, with the values of each node in a row without names.

Source: the file format of litegraph as ComfyUI 0.3 writes it, and the order of its own nodes' widgets.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from vllm_image_core.provenance.comfyui import Graph, Node
from vllm_image_core.provenance.facts import Facts
from vllm_image_core.provenance.untrusted_json import as_list, as_object

__all__ = ["facts_of_workflow"]

_MAX_NODES: Final = 4096
_MAX_LINKS: Final = 16_384
_MUTED, _BYPASSED = 2, 4
"""Modes of a node that does not run, and of one that only passes its inputs on."""

_OF_SAMPLERS: Final = frozenset(("seed", "noise_seed", "noise", "guider"))

_SIZE: Final = ("width", "height", "batch_size")
_WIDGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "KSampler": ("seed", "control", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", "control", "steps", "cfg", "sampler_name", "scheduler"),
        *("start_at_step", "end_at_step", "return_with_leftover_noise"),
    ),
    "SamplerCustom": ("add_noise", "noise_seed", "control", "cfg"),
    "RandomNoise": ("noise_seed", "control"),
    "CFGGuider": ("cfg",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "Flux2Scheduler": ("steps", "width", "height"),
    "FluxGuidance": ("guidance",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl", "empty_padding"),
    "CLIPTextEncodeHiDream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "CLIPTextEncodeHunyuanDiT": ("bert", "mt5xl"),
    "CLIPTextEncodeLumina2": ("system_prompt", "user_prompt"),
    "CLIPTextEncodeSDXL": (
        *("width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"),
    ),
    "CLIPTextEncodeSDXLRefiner": ("ascore", "width", "height", "text"),
    "TextEncodeQwenImageEdit": ("prompt",),
    "TextEncodeQwenImageEditPlus": ("prompt",),
    "Power Prompt (rgthree)": ("prompt",),
    "Power Prompt - Simple (rgthree)": ("prompt",),
    "SDXL Power Prompt - Positive (rgthree)": ("prompt_g", "prompt_l"),
    "SDXL Power Prompt - Simple / Negative (rgthree)": ("prompt_g", "prompt_l"),
    "ImpactWildcardEncode": ("wildcard_text", "populated_text"),
    "Text Multiline": ("text",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "StringReplace": ("string", "find", "replace"),
    "StringTrim": ("string", "mode"),
    "StringSubstring": ("string", "start", "end"),
    "CaseConverter": ("string", "mode"),
    "Seed (rgthree)": ("seed",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value", "control"),
    "PrimitiveFloat": ("value",),
    "PrimitiveNode": ("value", "control"),
    "EmptyLatentImage": _SIZE,
    "EmptySD3LatentImage": _SIZE,
    "EmptyFlux2LatentImage": _SIZE,
    "EmptyHunyuanImageLatent": _SIZE,
    "EmptyQwenImageLayeredLatentImage": _SIZE,
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
}


def facts_of_workflow(workflow: Mapping[str, object]) -> Facts:
    """What the text `workflow` of a file tells, as far as ComfyUI's own nodes say it, but for muted ones."""
    sources = dict(_sources(workflow))
    nodes = [as_object(node) for node in islice(as_list(workflow.get("nodes")), _MAX_NODES)]
    stored = dict(_stored(nodes, sources))
    return Graph(
        {str(node.get("id")): _node(node, sources, stored) for node in nodes if node.get("mode") != _MUTED}
    ).facts()


def _stored(
    nodes: Sequence[Mapping[str, object]], sources: Mapping[int, list[object]]
) -> Iterator[tuple[str, list[object]]]:
    """What KJNodes' `SetNode` stores under a name, for `GetNode` to take up elsewhere in the drawing."""
    for node in nodes:
        match as_list(node.get("widgets_values")):
            case [str() as name, *_] if node.get("type") == "SetNode":
                yield from ((name, source) for source in _linked(node, sources).values())
            case _:
                continue


def _sources(workflow: Mapping[str, object]) -> Iterator[tuple[int, list[object]]]:
    """From where each link comes, by its number; newer files name its parts."""
    for link in islice(as_list(workflow.get("links")), _MAX_LINKS):
        named = as_object(link)
        parts = [named.get(part) for part in ("id", "origin_id", "origin_slot")] if named else as_list(link)
        match parts:
            case [int() as number, str() | int() as node, int() as output, *_]:
                yield number, [str(node), output]
            case _:
                continue


def _node(
    node: Mapping[str, object], sources: Mapping[int, list[object]], stored: Mapping[str, list[object]]
) -> Node:
    kind = str(node.get("type", ""))
    linked = _linked(node, sources)
    if node.get("mode") == _BYPASSED:
        return Node("", {name: link for name, link in linked.items() if name not in _OF_SAMPLERS})
    values = node.get("widgets_values")  # a row; some programs write the names, too
    match as_list(values):
        case [str() as name, *_] if kind == "GetNode" and name in stored:
            return Node(kind, {name: stored[name]})
        case row:
            widgets = as_object(values) or dict(zip(_WIDGETS.get(kind, ()), row, strict=False))
            return Node(kind, {**widgets, **linked})


def _linked(node: Mapping[str, object], sources: Mapping[int, list[object]]) -> dict[str, list[object]]:
    linked: dict[str, list[object]] = {}
    for entry in as_list(node.get("inputs")):
        entry_object = as_object(entry)
        name, link = entry_object.get("name"), entry_object.get("link")
        if isinstance(name, str) and isinstance(link, int) and link in sources:
            linked[name] = sources[link]
    return linked
