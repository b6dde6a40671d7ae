"""A ComfyUI workflow as it was drawn: the same graph, with the values of each node in a row without names.

Source: the file format of litegraph as ComfyUI 0.3 writes it, and the order of its own nodes' widgets.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from vllm_image_core.provenance.comfyui import Graph, Node
from vllm_image_core.provenance.facts import Facts
from vllm_image_core.provenance.untrusted_json import as_list, as_object

__all__ = ["facts_of_workflow"]

_MAX_NODES: Final = 4096
_MAX_LINKS: Final = 16_384

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
    "TextEncodeQwenImageEdit": ("prompt",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value", "control"),
    "PrimitiveFloat": ("value",),
    "PrimitiveNode": ("value", "control"),
    "EmptyLatentImage": _SIZE,
    "EmptySD3LatentImage": _SIZE,
    "EmptyFlux2LatentImage": _SIZE,
    "EmptyQwenImageLayeredLatentImage": _SIZE,
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
}


def facts_of_workflow(workflow: Mapping[str, object]) -> Facts:
    """What the text `workflow` of a file tells, as far as ComfyUI's own nodes say it."""
    sources = dict(_sources(workflow))
    nodes = (as_object(node) for node in islice(as_list(workflow.get("nodes")), _MAX_NODES))
    return Graph({str(node.get("id")): _node(node, sources) for node in nodes}).facts()


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


def _node(node: Mapping[str, object], sources: Mapping[int, list[object]]) -> Node:
    kind = str(node.get("type", ""))
    values = node.get("widgets_values")  # a row; some programs write the names, too
    widgets = as_object(values) or dict(zip(_WIDGETS.get(kind, ()), as_list(values), strict=False))
    linked: dict[str, object] = {}
    for entry in as_list(node.get("inputs")):
        entry_object = as_object(entry)
        name, link = entry_object.get("name"), entry_object.get("link")
        if isinstance(name, str) and isinstance(link, int) and link in sources:
            linked[name] = sources[link]
    return Node(kind, {**widgets, **linked})
