"""Read the settings that InvokeAI writes into its PNG files, in the forms of all its versions.

Source: InvokeAI 2.3 (`Dream` and `sd-metadata`), the first of 3.0 (`invokeai`), and 3 to 6
(`invokeai_metadata`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vllm_image_core.provenance.facts import Facts, as_list, as_object, chosen_settings, first_of, usual_facts

_MAX_DREAM_CHARACTERS: Final = 100_000
_MAX_OPTIONS_CHARACTERS: Final = 2_000
_OPTION: Final = re.compile(r"(?:^|\s)-([A-Za-z])\s?([^\s-]\S{0,39}|-\d{1,20})")
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")


def facts_of_metadata(metadata: Mapping[str, object]) -> Facts:
    """Read `invokeai_metadata`; Flux models have `guidance`, others `cfg_scale`."""
    named = metadata.get("model")
    model = as_object(named)
    return replace(
        usual_facts("invokeai", metadata),
        prompt=metadata.get("positive_prompt"),
        negative_prompt=metadata.get("negative_prompt"),
        guidance_scale=_first(metadata, "guidance", "cfg_scale"),
        model=named if isinstance(named, str) else _first(model, "name", "model_name", "key"),
        settings=chosen_settings(metadata, "scheduler", "generation_mode", "app_version"),
    )


def facts_of_node(found: Mapping[str, object]) -> Facts:
    """Read `invokeai`, which holds the node that made the image."""
    node = as_object(found.get("node"))
    words, avoided = _split_prompt(_words(node.get("prompt")))
    return replace(
        facts_of_metadata(node),
        prompt=_first({"words": words, **node}, "positive_prompt", "words"),
        negative_prompt=_first({"avoided": avoided, **node}, "negative_prompt", "avoided"),
    )


def facts_of_sd_metadata(metadata: Mapping[str, object]) -> Facts:
    """Read `sd-metadata`; the negative prompt is in brackets within the prompt."""
    images = as_list(metadata.get("images"))
    image = as_object(metadata.get("image")) or as_object(images[0] if len(images) == 1 else None)
    words, avoided = _split_prompt(_words(image.get("prompt")))
    return replace(
        usual_facts("invokeai", image),
        prompt=words,
        negative_prompt=avoided,
        guidance_scale=image.get("cfg_scale"),
        model=_first(metadata, "model_weights", "model"),
        settings=chosen_settings(image, "sampler") | chosen_settings(metadata, "app_version"),
    )


def facts_of_dream(text: str) -> Facts:
    """Read `Dream`, a command line such as ``"a fox [blurry]" -s 50 -S 42 -W 512 -H 512 -C 7.5``."""
    quoted, _, options = text[:_MAX_DREAM_CHARACTERS].rpartition('"')
    words, avoided = _split_prompt(quoted.removeprefix('"') if quoted else None)
    found: dict[str, str] = {}
    for name, value in _OPTION.findall(options[:_MAX_OPTIONS_CHARACTERS]):
        found.setdefault(name, value)
    return Facts(
        tool="invokeai",
        prompt=words,
        negative_prompt=avoided,
        width=found.get("W"),
        height=found.get("H"),
        num_inference_steps=found.get("s"),
        guidance_scale=found.get("C"),
        seed=found.get("S"),
        settings={"sampler": found["A"]} if "A" in found else {},
    )


def _words(prompt: object) -> str | None:
    """Return a prompt, or the first of several weighted ones."""
    for part in as_list(prompt):
        words = as_object(part).get("prompt")
        return words if isinstance(words, str) else None
    return prompt if isinstance(prompt, str) else None


def _split_prompt(prompt: str | None) -> tuple[str | None, str | None]:
    """Split a prompt into the text outside its brackets and the text in them."""
    if prompt is None:
        return None, None
    avoided = ", ".join(part.strip() for part in _BRACKETS.findall(prompt) if part.strip())
    return _BRACKETS.sub("", prompt).strip(), avoided or None


def _first(found: Mapping[str, object], *names: str) -> object:
    return first_of(*map(found.get, names))
