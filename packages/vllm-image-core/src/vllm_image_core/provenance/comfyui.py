"""Read an image's settings from a ComfyUI graph, by following the links between its nodes.

Source: ComfyUI's own nodes, 0.3. Its PNG files have two texts: `prompt`, the graph as it ran, and `workflow`,
the graph as it was drawn. Only values written in the graph are read; nothing in it is run.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, NamedTuple, TypeVar

from vllm_image_core.provenance import comfyui_strings
from vllm_image_core.provenance.facts import Facts, as_list, as_object
from vllm_image_core.text import one_line

T = TypeVar("T")
Side = Literal["positive", "negative"]

_MAX_NODES: Final = 4096
_MAX_SAMPLERS: Final = 64
_MAX_VISITED: Final = 256
_MAX_JOINTS: Final = 16

_TEXTS: Final = (
    *(
        "text_0",
        "text",
        "text_g",
        "prompt_g",
        "t5xxl",
        "mt5xl",
        "llama",
        "qwen25_7b",
        "prompt",
        "user_prompt",
    ),
    *("clip_g", "clip_l", "text_l", "prompt_l", "bert", "string", "value", "populated_text", "wildcard_text"),
)
"""Input names for a node's text, most telling first; for a node that displays text, what it displayed."""

_ENCODERS: Final = (("text_g", "text_l"), ("prompt_g", "prompt_l"), ("t5xxl", "clip_g"), ("t5xxl", "clip_l"))
"""Texts of one node for different encoders; the first of each pair is used."""

_JOINED: Final = (
    *("string_a", "string_b", "text_a", "text_b", "text_c", "text_d"),
    *("text1", "text2", "text3", "text4", "text5", "string1", "string2", "string3", "string4"),
    *("string_1", "string_2", "string_3", "string_4"),
)
"""Input names for the parts of nodes that join texts, in order (ComfyUI's own, WAS, pysssss, easy-use)."""
_JOINT: Final = ", "
_MAX_JOINED_CHARACTERS: Final = 65_536
_SIDES: Final[Mapping["Side", tuple[str, ...]]] = {
    "positive": ("positive", "text_positive", "positive_prompt"),
    "negative": ("negative", "text_negative", "negative_prompt"),
}
"""Input names of nodes that hold both prompts, such as Efficient Loader and the prompt stylers."""
_CONDITIONS: Final = ("conditioning", "conditioning_1", "conditioning_to", "cond1", "conditioning_from")
_COMBINED: Final = (("conditioning_1", "conditioning_2"), ("conditioning_to", "conditioning_from"))
"""The inputs of nodes that combine two conditionings into one."""

_CHOSEN: Final = ("input", "text", "string", "value", "prompt", "conditioning")
_MAX_CHOICES: Final = 32
_SHOWN_CHARACTERS: Final = 60
_CONDITIONS_AFTER: Final = ("conditioning_2",)
_VALUES: Final = ("value", "int", "float", "number", "seed", "noise_seed", "Value", "Number")
_SIZES: Final = (("width", "height"), ("empty_latent_width", "empty_latent_height"))
_LATENTS: Final = ("latent_image", "samples", "latent", "latents")
_MODELS: Final = ("ckpt_name", "unet_name", "model_name", "gguf_name", "base_ckpt_name")
_EMPTIED: Final = "ConditioningZeroOut"
_PASSED_ON: Final = ("Reroute", "GetNode")


class Link(NamedTuple):
    """The source of an input: a node, and the number of its output."""

    node: str
    output: int


_Read = dict[tuple[Link, Side], object]
"""The texts read so far, by their links; None while a text is still being read."""

_GAP: Final[tuple[Link, Side]] = (Link("", -1), "positive")
"""A marker among the texts: part of a text could not be read; its value is the side of that text."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its class, and its inputs, each of them a value or a link."""

    kind: str
    inputs: Mapping[str, object]

    def link(self, *names: str) -> Link | None:
        """Return the link of the first of these inputs that has one."""
        return next((link for name in names if (link := _link(self.inputs.get(name)))), None)


def facts_of_prompt(prompt: Mapping[str, object]) -> Facts:
    """Read the settings from a file's `prompt` text, starting from its sampler."""
    nodes = {
        name: Node(str(as_object(node).get("class_type", "")), as_object(as_object(node).get("inputs")))
        for name, node in islice(prompt.items(), _MAX_NODES)
    }
    return Graph(nodes).facts()


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph: its nodes by name."""

    nodes: Mapping[str, Node]

    def facts(self) -> Facts:
        """Read the settings of the sampler that has the most of them; empty if there is no sampler.

        Of two with equally many, the one that started with more noise: the other upscaled its image.
        """
        samplers = islice((node for node in self.nodes.values() if _samples(node)), _MAX_SAMPLERS)
        texts: _Read = {}
        facts = (self._facts(node, texts) for node in samplers)
        return max(facts, key=_weight, default=Facts(tool="comfyui"))

    def _facts(self, sampler: Node, texts: "_Read") -> Facts:
        guider = self._node(sampler.link("guider")) or sampler
        positive, negative = guider.link("positive", "conditioning", "cond1"), guider.link("negative")
        prompt = self._text(positive, "positive", texts)
        size = self._find(sampler.link("latent_image"), self._size, _LATENTS)
        return Facts(
            tool="comfyui",
            prompt=prompt,
            negative_prompt=self._text(negative, "negative", texts),
            width=size[0] if size else None,
            height=size[1] if size else None,
            num_inference_steps=self._value(sampler, "steps")
            or self._find(sampler.link("sigmas"), lambda node: self._value(node, "steps"), ("sigmas",)),
            # A Flux model's guidance has a node of its own, between the prompt and the sampler.
            guidance_scale=self._find(positive, lambda node: self._value(node, "guidance"), _CONDITIONS)
            or self._value(guider, "cfg"),
            seed=self._seed(sampler),
            model=self._find(guider.link("model"), _model, ("model",)),
            settings={
                name: value
                for name in ("sampler_name", "scheduler", "denoise")
                if (value := self._value(sampler, name)) is not None
            },
            notes=tuple(self._notes(positive, prompt, texts)),
        )

    def _notes(self, positive: Link | None, prompt: object, texts: "_Read") -> Iterator[str]:
        """Note the parts of the prompt that could not be used."""
        if positive is None:
            return
        if prompt is None:
            last: list[str] = []
            names = (*_CONDITIONS, *_TEXTS)
            self._find(positive, lambda node: last.append("" if _is_empty(node) else node.kind), names)
            if last and last[-1]:
                kind = one_line(last[-1], limit=_SHOWN_CHARACTERS)
                yield f"The graph's prompt comes from a node that cannot be read: '{kind}'."
            return
        if texts.pop(_GAP, None) == "positive":
            yield "Part of the graph's prompt is missing: it comes from a node that cannot be read."
        parts = self._find(positive, lambda node: self._parts(node, texts), _CONDITIONS) or ()
        for name, text in parts:
            if text != prompt:
                shown = one_line(text, limit=_SHOWN_CHARACTERS)
                yield f"The graph has another prompt that was not used, under {name}: '{shown}'."

    def _parts(self, node: Node, texts: "_Read") -> list[tuple[str, str]] | None:
        """Return the texts that a node combines, or gives to different encoders; None if fewer than two."""
        for names in (*_COMBINED, *_ENCODERS):
            values = [
                (name, self._input(node, name, "positive", texts, 0)) for name in names if name in node.inputs
            ]
            parts = [(name, text) for name, text in values if isinstance(text, str) and text]
            if len(parts) > 1:
                return parts
        return None

    def _seed(self, sampler: Node) -> object:
        noise = self._node(sampler.link("noise")) or sampler
        seed = self._value(noise, "seed")
        return self._value(noise, "noise_seed") if seed is None else seed

    def _size(self, node: Node) -> tuple[object, object] | None:
        sizes = ((self._value(node, wide), self._value(node, high)) for wide, high in _SIZES)
        return next((size for size in sizes if None not in size), None)

    def _text(self, start: Link | None, side: Side, texts: "_Read", depth: int = 0) -> object:
        """Return the text that a link leads to; each is read once, and a text never contains itself."""
        if start is None or depth > _MAX_JOINTS:
            return None
        key = (start, side)
        if key not in texts:
            texts[key] = None
            found = self._find(
                start,
                lambda node: self._text_of(node, side, texts, depth),
                (*_CONDITIONS, *_TEXTS, *_CONDITIONS_AFTER),
            )
            texts[key] = found or None
        return texts[key]

    def _text_of(self, node: Node, side: Side, texts: "_Read", depth: int) -> str | None:
        """Return the text that a node has or produces; "" if it certainly cannot be known."""
        if node.kind.startswith(comfyui_strings.UNKNOWN_KINDS):
            return ""
        if node.kind in comfyui_strings.INPUTS:
            names = comfyui_strings.INPUTS[node.kind]
            inputs = {name: self._input(node, name, side, texts, depth) for name in names}
            return comfyui_strings.output(node.kind, inputs) or ""
        chosen = _switch_input(node)
        if chosen is not None:
            text = self._input(node, chosen, side, texts, depth)
            return text if isinstance(text, str) else ""
        for name in (*_TEXTS, *_SIDES[side]):
            text = self._input(node, name, side, texts, depth) if name in _TEXTS else node.inputs.get(name)
            if isinstance(text, str) and text:
                return text
        return self._join(node, side, texts, depth)

    def _input(self, node: Node, name: str, side: Side, texts: "_Read", depth: int) -> object:
        """Return an input's value, or the text that it is linked to."""
        value = node.inputs.get(name)
        link = _link(value)
        return value if link is None else self._text(link, side, texts, depth + 1)

    def _join(self, node: Node, side: Side, texts: "_Read", depth: int) -> str | None:
        """Join the parts of a node that joins texts; each part is a value or a link."""
        if depth == _MAX_JOINTS or len(texts) > _MAX_VISITED:
            return None
        parts = {name: self._input(node, name, side, texts, depth) for name in _JOINED if name in node.inputs}
        if any(part is None and not self._is_blank(node.link(name)) for name, part in parts.items()):
            texts[_GAP] = side
        joint = next((node.inputs[name] for name in ("delimiter", "separator") if name in node.inputs), None)
        between = joint.replace("\\n", "\n") if isinstance(joint, str) else _JOINT
        text = between.join(part for part in parts.values() if isinstance(part, str) and part)
        return text[:_MAX_JOINED_CHARACTERS] or None

    def _is_blank(self, link: Link | None) -> bool:
        """Whether a link leads to text that was left empty."""
        node = self._node(link)
        return node is not None and any(node.inputs.get(name) == "" for name in (*_TEXTS, *_JOINED))

    def _value(self, node: Node, name: str) -> object:
        """Return the value of an input, even if it comes from another node."""
        value = node.inputs.get(name)
        link = _link(value)
        if link is None:
            return value if isinstance(value, str | int | float) else None
        return self._find(link, lambda other: _own_value(other, (name, *_VALUES)), (name, *_VALUES))

    def _node(self, link: Link | None) -> Node | None:
        return None if link is None else self.nodes.get(link.node)

    def _find(self, start: Link | None, wanted: Callable[[Node], T | None], via: tuple[str, ...]) -> T | None:
        """Search back from a link, nearest nodes first, for the first match; graphs may have cycles."""
        waiting = deque([] if start is None else [start])
        seen: set[str] = set()
        while waiting and len(seen) < _MAX_VISITED:
            link = waiting.popleft()
            node = self.nodes.get(link.node)
            if node is None or link.node in seen or node.kind == _EMPTIED:
                continue
            seen.add(link.node)
            found = wanted(node)
            if found is not None:
                return found
            waiting.extend(_further(node, link, via))
        return None


def _further(node: Node, link: Link, via: tuple[str, ...]) -> Iterator[Link]:
    """Yield the inputs to follow; for a node that passes on both conditionings, the one that is wanted."""
    passed = ("positive", "negative")
    if node.kind.startswith(_PASSED_ON):
        via = tuple(node.inputs)[:1]
    elif _CONDITIONS[0] in via and all(name in node.inputs for name in passed):
        via = (passed[link.output % len(passed)],)
    elif (chosen := _switch_input(node)) is not None:
        via = (chosen,)
    for name in via:
        further = _link(node.inputs.get(name))
        if further is not None:
            yield further


def _switch_input(node: Node) -> str | None:
    """Return the input that a switch passes on; None if it is unknown, or if the node is not a switch.

    ComfyUI's own switches choose by a boolean; those of others choose by a number, or take the first input.
    """
    if "switch" not in node.kind.casefold():
        return None
    yes = next(
        (value for name in ("switch", "boolean") if isinstance(value := node.inputs.get(name), bool)), None
    )
    if yes is not None:
        return next((name for name in (("on_true",) if yes else ("on_false",)) if name in node.inputs), None)
    numbers = (node.inputs.get(name) for name in ("select", "Input", "index", "input"))
    number = next((value for value in numbers if isinstance(value, int) and 0 <= value < _MAX_CHOICES), None)
    if number is not None:
        names = (f"{name}{between}{number}" for name in _CHOSEN for between in ("", "_"))
        return next((name for name in names if name in node.inputs), None)
    return next((name for name in sorted(node.inputs)[:_MAX_CHOICES] if name.startswith("any_")), None)


def _samples(node: Node) -> bool:
    seeded = not node.inputs.keys().isdisjoint(("seed", "noise_seed", "noise"))
    return seeded and not node.inputs.keys().isdisjoint(("positive", "guider"))


def _weight(facts: Facts) -> tuple[int, float]:
    """Count the settings of a sampler, and return how much noise it started with."""
    found = (facts.prompt, facts.seed, facts.width, facts.num_inference_steps, facts.guidance_scale)
    denoise = facts.settings.get("denoise")
    noise = float(denoise) if isinstance(denoise, float) and 0 <= denoise <= 1 else 1.0
    return sum(fact is not None for fact in found), noise


def _is_empty(node: Node) -> bool:
    return any(node.inputs.get(name) == "" for name in _TEXTS)


def _own_value(node: Node, names: tuple[str, ...]) -> object:
    values = (node.inputs.get(name) for name in names)
    return next((value for value in values if isinstance(value, str | int | float)), None)


def _model(node: Node) -> object:
    return next((name for key in _MODELS if isinstance(name := node.inputs.get(key), str)), None)


def _link(value: object) -> Link | None:
    match as_list(value):
        case [str() | int() as node, int() as output]:
            return Link(str(node), output)
        case _:
            return None
