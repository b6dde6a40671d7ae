"""Choose captions for the images of a sheet that say what differs between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vllm_image_core.text import one_line

_LONGEST: Final = 60
_LEAST_SHARED: Final = 3
"""How many words prompts must begin with in common for their beginning to be left out."""

_OMITTED: Final = "… "


@dataclass(frozen=True, slots=True)
class Described:
    """What is known about an image.

    Attributes:
        prompt: Its prompt.
        parameters: Other parameters by name; None for those that it does not have.
    """

    prompt: str
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])


def differing_captions(images: Sequence[Described]) -> list[str]:
    """Return a caption for each image: the differing part of its prompt, and the settings that differ.

    If all prompts are equal, only the settings are shown, such as "seed 7"; if they are all different, only
    the prompts. Prompts that begin alike are shown from where they differ.
    """
    names = dict.fromkeys(name for image in images for name in image.parameters)
    differing = [name for name in names if len({str(image.parameters.get(name)) for image in images}) > 1]
    settings = [
        ", ".join(
            f"{name} {image.parameters[name]}" for name in differing if image.parameters.get(name) is not None
        )
        for image in images
    ]
    distinct = {image.prompt for image in images}
    if len(distinct) <= 1:
        return [one_line(each, limit=_LONGEST) for each in settings]
    prompts = _from_difference([image.prompt for image in images])
    if len(distinct) == len(images):
        return [one_line(prompt, limit=_LONGEST) for prompt in prompts]
    return [
        ", ".join(filter(None, (one_line(prompt, limit=_LONGEST), one_line(each, limit=_LONGEST))))
        for prompt, each in zip(prompts, settings, strict=True)
    ]


def _from_difference(prompts: Sequence[str]) -> list[str]:
    """Leave out the words with which all prompts begin, if they are several; each keeps at least one."""
    words = [prompt.split() for prompt in prompts]
    most = min(map(len, words)) - 1
    shared = next(
        (place for place in range(max(0, most)) if len({each[place] for each in words}) > 1), max(0, most)
    )
    if shared < _LEAST_SHARED:
        return [" ".join(each) for each in words]
    return [_OMITTED + " ".join(each[shared:]) for each in words]
