"""Read an image's settings from a ComfyUI workflow: the graph as it was drawn, with its widgets' values.

Source: ComfyUI's own nodes, 0.3, and those of its most used extensions. Such a graph does not name the values
of its widgets; their order is that of the node's class.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from vllm_image_core.provenance import comfyui_strings
from vllm_image_core.provenance.comfyui import Graph, Node
from vllm_image_core.provenance.facts import Facts, as_list, as_object

_MAX_DRAWN_NODES: Final = 4096
_MAX_LINKS: Final = 16_384
_MUTED, _BYPASSED = 2, 4
"""The modes of a node that does not run, and of one that only passes on its inputs."""

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
    **dict.fromkeys(("TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus"), ("prompt",)),
    **dict.fromkeys(("Power Prompt (rgthree)", "Power Prompt - Simple (rgthree)"), ("prompt",)),
    "SDXL Power Prompt - Positive (rgthree)": ("prompt_g", "prompt_l"),
    "SDXL Power Prompt - Simple / Negative (rgthree)": ("prompt_g", "prompt_l"),
    "ImpactWildcardEncode": ("wildcard_text", "populated_text"),
    "Text Multiline": ("text",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    **comfyui_strings.INPUTS,
    "Seed (rgthree)": ("seed",),
    **dict.fromkeys(("PrimitiveString", "PrimitiveStringMultiline", "PrimitiveFloat"), ("value",)),
    **dict.fromkeys(("PrimitiveInt", "PrimitiveNode"), ("value", "control")),
    **dict.fromkeys(("EmptyLatentImage", "EmptySD3LatentImage", "EmptyFlux2LatentImage"), _SIZE),
    **dict.fromkeys(("EmptyHunyuanImageLatent", "EmptyQwenImageLayeredLatentImage"), _SIZE),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
}


def facts_of_workflow(workflow: Mapping[str, object]) -> Facts:
    """Read the settings from a file's `workflow` text, from known nodes that are not muted."""
    sources = dict(_sources(workflow))
    nodes = [as_object(node) for node in islice(as_list(workflow.get("nodes")), _MAX_DRAWN_NODES)]
    stored = dict(_set_node_values(nodes, sources))
    return Graph(
        {str(node.get("id")): _node(node, sources, stored) for node in nodes if node.get("mode") != _MUTED}
    ).facts()


def _set_node_values(
    nodes: Sequence[Mapping[str, object]], sources: Mapping[int, list[object]]
) -> Iterator[tuple[str, list[object]]]:
    """Yield what KJNodes' `SetNode` stores under a name, for `GetNode` to use elsewhere in the graph."""
    for node in nodes:
        match as_list(node.get("widgets_values")):
            case [str() as name, *_] if node.get("type") == "SetNode":
                yield from ((name, source) for source in _links(node, sources).values())
            case _:
                continue


def _sources(workflow: Mapping[str, object]) -> Iterator[tuple[int, list[object]]]:
    """Yield the source of each link, by the link's number; newer files name the parts of a link."""
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
    linked = _links(node, sources)
    if node.get("mode") == _BYPASSED:
        return Node("", {name: link for name, link in linked.items() if name not in _OF_SAMPLERS})
    values = node.get("widgets_values")  # a list; some programs write the names, too
    match as_list(values):
        case [str() as name, *_] if kind == "GetNode" and name in stored:
            return Node(kind, {name: stored[name]})
        case row:
            widgets = as_object(values) or dict(zip(_WIDGETS.get(kind, ()), row, strict=False))
            return Node(kind, {**widgets, **linked})


def _links(node: Mapping[str, object], sources: Mapping[int, list[object]]) -> dict[str, list[object]]:
    linked: dict[str, list[object]] = {}
    for entry in as_list(node.get("inputs")):
        entry_object = as_object(entry)
        name, link = entry_object.get("name"), entry_object.get("link")
        if isinstance(name, str) and isinstance(link, int) and link in sources:
            linked[name] = sources[link]
    return linked
