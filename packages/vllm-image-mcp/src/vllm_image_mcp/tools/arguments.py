"""Fit the arguments of a tool call to the tool's parameters, however the host writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from mcp.server.mcpserver.exceptions import ToolError
from vllm_image_core.requests.fields import RANDOM_SEED

from vllm_image_mcp.error_messages import explain_unknown
from vllm_image_mcp.tools.argument_names import note_on_ignored, sort_names
from vllm_image_mcp.tools.argument_values import convert_arguments, draw_random_seeds
from vllm_image_mcp.tools.schemas import short_input

_MOST_SLIPS: Final = 4
"""Maximum wrong names that one error lists."""

_SEARCHES: Final = frozenset({"find_images"})
"""Tools that search for a seed: for them, -1 is a seed like any other."""

_RANDOM_NOTE: Final = f"seed {RANDOM_SEED} means a random seed: one was drawn, and is in this result."


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A tool's parameters.

    Attributes:
        parameters: The schema of each, by name.
        required: Those that have no default.
    """

    parameters: Mapping[str, Mapping[str, Any]]
    required: frozenset[str]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Self:
        """The signature that a tool's input schema describes."""
        required = cast("list[str]", schema.get("required", []))
        return cls(parameters=short_input(schema)["properties"], required=frozenset(required))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedArguments:
    """The arguments to call a tool with, and notes on those that were changed or ignored."""

    arguments: dict[str, Any]
    notes: tuple[str, ...] = ()


def fit(tool: str, arguments: Mapping[str, object], signatures: Mapping[str, Signature]) -> FittedArguments:
    """Fit the arguments of a call to its tool, or raise ToolError for a misspelt parameter.

    It needs the signatures of all tools, so that an error can name the tool that has a parameter.
    """
    known = signatures[tool]
    names = sort_names(tool, arguments, {name: each.parameters for name, each in signatures.items()})
    if names.slips:
        shown = dict(list(names.slips.items())[:_MOST_SLIPS])
        raise ToolError(explain_unknown(tool, shown, list(known.parameters)))
    values = convert_arguments(names.own, known.parameters, required=known.required)
    drawn = False
    if tool not in _SEARCHES:
        values, drawn = draw_random_seeds(values)
    return FittedArguments(
        arguments=values,
        notes=(
            *([_RANDOM_NOTE] if drawn else []),
            *([note_on_ignored(tool, names.ignored)] if names.ignored else []),
        ),
    )
