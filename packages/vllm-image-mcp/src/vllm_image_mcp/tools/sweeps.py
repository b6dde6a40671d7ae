"""Expand the prompts or the sweep of one batch_generate call into its image requests."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.fields import SHORT_NAMES, SWEPT
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import brief

from vllm_image_mcp.tools.checks import MOST_PROMPTS, prompts_with_seeds

_ALIASES: Final = {"seeds": "seed", **SHORT_NAMES}
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
        prompts: One for each image, or a single one for a sweep.
        seeds: One for each prompt, or None.
        sweep: Values by parameter, for one or two parameters; None for no sweep.
        shared: The settings of all images; its prompt is not used.
        draw_seed: Draws the seed of a sweep without one, so that its images differ only in what is swept.

    Raises:
        InvalidRequest: The number of prompts or seeds does not fit, or the sweep is invalid.
    """
    texts, given_seeds = prompts_with_seeds(prompts, seeds)
    if sweep is None:
        return [
            replace(shared, prompt=text, seed=seed) for text, seed in zip(texts, given_seeds, strict=True)
        ]
    if len(texts) != 1:
        raise _refusal(
            f"A sweep varies one prompt, and prompts has {len(texts)} entries.",
            "prompts",
            len(texts),
            "one prompt with a sweep",
        )
    values = _check(sweep)
    for name in values:
        if getattr(shared, name) is not None or (name == "seed" and seeds is not None):
            given = "seeds" if name == "seed" else name
            raise _refusal(
                f"{given} is given both as a value and in the sweep.", given, None, "only one of the two"
            )
    fixed = replace(shared, prompt=texts[0], seed=given_seeds[0])
    if fixed.seed is None and "seed" not in values:
        fixed = replace(fixed, seed=draw_seed(), seed_drawn=True)
    return [replace(fixed, **cell) for cell in _cells(values)]


def _cells(values: Mapping[str, Sequence[object]]) -> list[Mapping[str, object]]:
    """The settings of each image, row by row: the first parameter varies from column to column."""
    names = list(values)
    rows = itertools.product(*(values[name] for name in reversed(names)))
    return [dict(zip(reversed(names), row, strict=True)) for row in rows]


def _check(sweep: object) -> dict[str, Sequence[object]]:
    if not isinstance(sweep, Mapping):
        raise _refusal(
            f"sweep: {brief(sweep)} is not an object.",
            "sweep",
            sweep,
            f"an object such as {_EXAMPLE}",
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
            f"sweep asks for {product} = {total} images; a batch takes at most {MOST_PROMPTS}.",
            "sweep",
            total,
            f"at most {MOST_PROMPTS} images in all",
        )
    return values


def _name(name: object) -> str:
    swept = _ALIASES.get(str(name), str(name))
    if swept not in SWEPT:
        raise _refusal(
            f"sweep has {brief(name)}, which cannot be swept.",
            "sweep",
            name,
            f"one or two of {', '.join(SWEPT)}",
        )
    return swept


def _values(name: object, values: object) -> Sequence[object]:
    if isinstance(values, list) and values:
        return cast("list[object]", values)
    raise _refusal(
        f"sweep does not have a list of values for {brief(name)}.",
        "sweep",
        name,
        f"a list of values, as in {_EXAMPLE}",
    )


def _refusal(message: str, parameter: str, value: object, allowed: str) -> InvalidRequest:
    return InvalidRequest(f"{message} Use {allowed}.", parameter=parameter, value=value, allowed=allowed)
