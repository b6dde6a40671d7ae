"""Check arguments that only the tools take: prompt and seed counts, switches, and the search limit.

Each function raises `InvalidRequest` for an argument that cannot be used.
"""

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import brief

from vllm_image_mcp.tools.parameters import USUALLY_FOUND

MOST_PROMPTS = 20
"""Maximum prompts in one call of batch_generate."""

MOST_FOUND = 20
"""Maximum images in one result of find_images: more would be too small on its contact sheet."""


def check_prompts(prompts: object, seeds: object) -> None:
    """Check that there are 1 to 20 prompts, and that both are lists; a host may send anything."""
    count = _count(prompts, "prompts")
    if not 1 <= count <= MOST_PROMPTS:
        raise InvalidRequest(
            f"prompts has {count} entries; a batch takes 1 to {MOST_PROMPTS}.",
            parameter="prompts",
            value=count,
            allowed=f"a list of 1 to {MOST_PROMPTS} prompts",
            next_step="Split longer lists into several calls of batch_generate." if count else None,
        )
    if seeds is not None:
        _count(seeds, "seeds")


def check_switch(parameter: str, given: object, *, default: bool) -> bool:
    """The value of a switch, or its default for null; a "false" in quotes must not count as true."""
    if given is None:
        return default
    if isinstance(given, bool):
        return given
    raise InvalidRequest(
        f"{parameter}: {brief(given)} is neither true nor false. Use true or false.",
        parameter=parameter,
        value=given,
        allowed="true or false",
    )


def check_limit(limit: object) -> int:
    """The number of images in one result of find_images, or its default if null was given."""
    if limit is None:
        return USUALLY_FOUND
    return checks.check_integer("limit", limit, 1, MOST_FOUND, allowed=f"an integer from 1 to {MOST_FOUND}")


def check_verdict(verdict: object) -> object:
    """A verdict that images can be searched by, or None if null was given."""
    if verdict in (None, "keep", "reject"):
        return verdict
    raise checks.invalid_value("verdict", verdict, "cannot be searched for", "keep or reject")


def _count(values: object, parameter: str) -> int:
    """The length of a list; a host may send anything."""
    if isinstance(values, list):
        return len(values)  # pyright: ignore[reportUnknownArgumentType] - a list from a host may hold anything
    raise InvalidRequest(
        f"{parameter}: {brief(values)} is not a list.",
        parameter=parameter,
        value=values,
        allowed="a list",
        next_step=f"Give {parameter} as a list, one for each image.",
    )
