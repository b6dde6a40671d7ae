"""An order: what one call of batch_generate asks for; a sweep is one prompt with many settings."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import shown

from vllm_image_mcp.tools.checks import MOST_PROMPTS, prompts_with_seeds

__all__ = ["SWEPT", "expand_requests"]

SWEPT: Final = (
    *("seed", "guidance_scale", "num_inference_steps", "quality", "aspect_ratio", "negative_prompt"),
)
"""What a sweep may vary."""

_ALIASES: Final = {"seeds": "seed", "steps": "num_inference_steps"}
_MOST_PARAMETERS: Final = 2
_EXAMPLE: Final = '{"guidance_scale": [3, 5], "seed": [1, 2]}'


def expand_requests(
    prompts: Sequence[str],
    seeds: Sequence[int] | None,
    sweep: object,
    *,
    shared: ImageRequest,
    draw_seed: Callable[[], int],
) -> list[ImageRequest]:
    """The requests of a batch, in order.

    Args:
        prompts: One for each picture, or a single one for a sweep.
        seeds: One for each prompt, or None.
        sweep: Values by parameter, for one or two parameters; None for no sweep.
        shared: What all pictures share; its prompt is not used.
        draw_seed: A seed for a sweep without one: its pictures differ in what is swept and nothing else.

    Raises:
        InvalidRequest: Too many or too few of something, or a sweep that is none.
    """
    texts, drawn = prompts_with_seeds(prompts, seeds)
    if sweep is None:
        return [replace(shared, prompt=text, seed=seed) for text, seed in zip(texts, drawn, strict=True)]
    if len(texts) != 1:
        raise _refusal(
            f"A sweep varies one prompt, and prompts has {len(texts)} entries.",
            "prompts",
            len(texts),
            "one prompt beside a sweep",
        )
    values = _check(sweep)
    for name in values:
        if getattr(shared, name) is not None or (name == "seed" and seeds is not None):
            given = "seeds" if name == "seed" else name
            raise _refusal(f"{given} is given, and swept too.", given, None, "one of the two")
    fixed = replace(shared, prompt=texts[0], seed=drawn[0])
    if fixed.seed is None and "seed" not in values:
        fixed = replace(fixed, seed=draw_seed(), seed_drawn=True)
    return [replace(fixed, **cell) for cell in _cells(values)]


def _cells(values: Mapping[str, Sequence[object]]) -> list[Mapping[str, object]]:
    """One for each pair of values, row by row: the first parameter varies from column to column."""
    names = list(values)
    rows = itertools.product(*(values[name] for name in reversed(names)))
    return [dict(zip(reversed(names), row, strict=True)) for row in rows]


def _check(sweep: object) -> dict[str, Sequence[object]]:
    if not isinstance(sweep, Mapping):
        raise _refusal(
            f"sweep: {shown(sweep)} is no object.", "sweep", sweep, f"an object such as {_EXAMPLE}"
        )
    given = cast("Mapping[object, object]", sweep)
    values = {_name(name): _values(name, value) for name, value in given.items()}
    if not 1 <= len(given) <= _MOST_PARAMETERS or len(values) < len(given):
        raise _refusal(
            f"sweep has {len(given)} parameters.", "sweep", len(given), "one or two different parameters"
        )
    counts = [len(each) for each in values.values()]
    total = counts[0] * (counts[1] if len(counts) > 1 else 1)
    if total > MOST_PROMPTS:
        product = " x ".join(map(str, counts))
        raise _refusal(
            f"sweep makes {product} pictures, {total} in all; a batch takes at most {MOST_PROMPTS}.",
            "sweep",
            total,
            f"at most {MOST_PROMPTS} pictures in all",
        )
    return values


def _name(name: object) -> str:
    known = _ALIASES.get(str(name), str(name))
    if known not in SWEPT:
        raise _refusal(
            f"sweep has {shown(name)}, which cannot be swept.",
            "sweep",
            name,
            f"one or two of {', '.join(SWEPT)}",
        )
    return known


def _values(name: object, values: object) -> Sequence[object]:
    if isinstance(values, list) and values:
        return cast("list[object]", values)
    raise _refusal(
        f"sweep has no list of values for {shown(name)}.",
        "sweep",
        name,
        f"a list of values, as in {_EXAMPLE}",
    )


def _refusal(message: str, parameter: str, value: object, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"{message} Allowed is {allowed}.", parameter=parameter, value=value, allowed=allowed
    )
