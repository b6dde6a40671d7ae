"""Sweep: turn lists of values into changes to the images of a batch: to fields, or to words of prompts."""

import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast

from vllm_image_core.checks import invalid_value
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.fields import RARE_NAMES, SHORT_NAMES, SWEPT
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import brief

MOST_IMAGES: Final = 1_000
"""Images that one batch of a tool, or one prompt elsewhere, may ask for."""

MOST_AXES: Final = 3
"""Parameters of a sweep whose values are combined: a grid has columns, rows and blocks of rows."""

SIZE: Final = "size"
ALIASES: Final = {"seeds": "seed", "sizes": SIZE, **SHORT_NAMES}
"""The names of fields by other names for them, in sweeps and in prompts that are objects."""

_SIZES: Final = re.compile(r"\s*(\d{1,5})\s*[xX*]\s*(\d{1,5})\s*", re.ASCII)
_EXAMPLE: Final = '{"guidance_scale": [3, 5], "seed": [1, 2]}'
_COMMON: Final = tuple(each for each in SWEPT if each not in RARE_NAMES)

RequestT = TypeVar("RequestT", bound=ImageRequest)


@dataclass(frozen=True, slots=True)
class Change:
    """What one swept value changes: fields of the request, or words of its prompt.

    Attributes:
        fields: New values by field.
        words: What to write instead of words of the prompt.
    """

    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    words: Mapping[str, str] = field(default_factory=dict[str, str])

    def __or__(self, other: "Change") -> "Change":
        return Change({**self.fields, **other.fields}, {**self.words, **other.words})

    def apply(self, request: RequestT) -> RequestT:
        """Return the request with this change; all words are replaced at once."""
        prompt = request.prompt
        if self.words:
            longest_first = sorted(self.words, key=len, reverse=True)
            found = "|".join(map(re.escape, longest_first))
            prompt = re.sub(found, lambda each: self.words[each[0]], prompt)
        return replace(request, **{"prompt": prompt, **cast("dict[str, Any]", self.fields)})


def sweep_changes(sweep: object, request: ImageRequest, *, pairs: bool, seeds_given: bool) -> list[Change]:
    """Return what each image of a sweep changes, row by row: the first key varies from column to column.

    Args:
        sweep: Lists of values by field, `size`, or words of the prompt.
        request: The request that is varied.
        pairs: Whether the lists are paired, first with first and so on, instead of combined.
        seeds_given: Whether the request's seed is one of a list of seeds.

    Raises:
        InvalidRequest: A value or a key cannot be used, or there are too many images.
    """
    axes = _axes(sweep, request)
    for name in {name for axis in axes.values() for name in axis[0].fields}:
        if getattr(request, name) is not None:
            raise given_twice("seeds" if name == "seed" and seeds_given else name, "the sweep")
    lengths = {name: len(axis) for name, axis in axes.items()}
    if pairs:
        if len(set(lengths.values())) > 1:
            each = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise refusal(
                f"sweep pairs lists of different lengths: {each}.",
                "sweep",
                None,
                "lists of one length with zip, or no zip to combine them",
            )
        return [functools.reduce(Change.__or__, each) for each in zip(*axes.values(), strict=True)]
    if len(axes) > MOST_AXES:
        raise refusal(
            f"sweep has {len(axes)} parameters.",
            "sweep",
            len(axes),
            f"at most {MOST_AXES} parameters, or zip",
        )
    total = math.prod(lengths.values())
    if total > MOST_IMAGES:
        product = f"{' x '.join(map(str, lengths.values()))} = " if len(lengths) > 1 else ""
        raise too_many(f"sweep asks for {product}{total} images", total, parameter="sweep")
    rows = itertools.product(*reversed(axes.values()))
    return [functools.reduce(Change.__or__, reversed(each)) for each in rows]


def _axes(sweep: object, request: ImageRequest) -> dict[str, list[Change]]:
    if not isinstance(sweep, Mapping):
        raise refusal(
            f"sweep: {brief(sweep)} is not an object.", "sweep", sweep, f"an object such as {_EXAMPLE}"
        )
    given = cast("Mapping[object, object]", sweep)
    axes: dict[str, list[Change]] = {}
    for key, values in given.items():
        name = ALIASES.get(str(key), str(key))
        if not isinstance(values, (list, tuple, range)) or not values:
            raise refusal(
                f"sweep does not have a list of values for {brief(key)}.",
                "sweep",
                key,
                f"a list of values, as in {_EXAMPLE}",
            )
        if name in axes:
            raise refusal(f"sweep has {name} twice, under two names.", "sweep", key, "each parameter once")
        axes[name] = [_change(name, value, request) for value in cast("Sequence[object]", values)]
    if not axes:
        raise refusal("sweep has 0 parameters.", "sweep", 0, f"an object such as {_EXAMPLE}")
    return axes


def _change(name: str, value: object, request: ImageRequest) -> Change:
    if name == SIZE:
        return Change(read_size(value))
    if name in SWEPT and hasattr(request, name):
        return Change({name: value})
    words = next(
        (each for each in (f"{{{name}}}", name) if each and each in prompt_text(request.prompt)), None
    )
    if words is not None:
        return Change(words={words: str(value)})
    if name in SWEPT or hasattr(EditRequest, name):
        fault, allowed = "which cannot be swept here", "one of "
    else:
        fault, allowed = "which is neither a parameter nor in the prompt", "words of the prompt, or one of "
    raise refusal(
        f"sweep has {brief(name)}, {fault}.",
        "sweep",
        name,
        f"{allowed}{', '.join((*(each for each in _COMMON if hasattr(request, each)), SIZE))}",
    )


def read_size(value: object) -> Mapping[str, object]:
    """Return the width and height of a size, such as "512x768"."""
    found = _SIZES.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise invalid_value(SIZE, value, "is not a size", 'width and height, such as "1024x768"')
    return {"width": int(found[1]), "height": int(found[2])}


def prompt_text(prompt: object) -> str:
    """Return the text of an unchecked prompt; empty if it is not text."""
    return prompt if isinstance(prompt, str) else ""


def given_twice(name: str, other: str) -> InvalidRequest:
    """Build the error for a field that is set in two places."""
    return refusal(f"{name} is given both as a value and in {other}.", name, None, "only one of the two")


def too_many(what: str, count: int, *, parameter: str = "prompts") -> InvalidRequest:
    """Build the error for more images than a batch takes."""
    return InvalidRequest(
        f"{what}; a batch takes at most {MOST_IMAGES}.",
        parameter=parameter,
        value=count,
        allowed=f"at most {MOST_IMAGES} images in all",
        next_step="Use fewer values, or several batches.",
    )


def refusal(
    message: str, parameter: str, value: object, allowed: str, *, next_step: str | None = None
) -> InvalidRequest:
    """Build the error for prompts or a sweep that cannot be used."""
    return InvalidRequest(
        f"{message} Use {allowed}.", parameter=parameter, value=value, allowed=allowed, next_step=next_step
    )
