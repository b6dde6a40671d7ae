"""Convert argument values to their parameters' types, however the host wrote them.

Hosts send numbers as text ("256"), integers as floats (256.0), lists and objects as JSON text, and "" for a
parameter that they omit. Each is converted to what it means. Any other value is left as it is: the checks
behind the tools refuse it by name.
"""

import json
import re
import secrets
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final, cast

from vllm_image_core.requests.fields import RANDOM_SEED, REQUEST_FIELDS

_SEEDS: Final = ("seed", "seeds")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST_NUMBER: Final = 40
"""Characters; no parameter takes a longer number."""
_LARGEST_EXPONENT: Final = 40

_KINDS: Final[Mapping[str, str]] = {
    "seeds": "integer",
    "count": "integer",
    "zip": "boolean",
    "wildcards": "boolean",
    **{name: each.kind for each in REQUEST_FIELDS for name in (each.name, *each.short.split())},
}
"""The types of swept values, and of the settings of one prompt, whose schemas do not say them."""

_DEFAULTS: Final[Mapping[str, frozenset[str]]] = {
    "max_concurrent": frozenset({"auto"}),
    "max_wait": frozenset({"auto"}),
}
"""Words by which the documentation calls a parameter's default."""

_OBJECT: Final = {"type": "object"}
_MOST_SEEDS: Final = 2**32

Schema = Mapping[str, Any]


def convert_arguments(
    arguments: Mapping[str, object], parameters: Mapping[str, Schema], *, required: Collection[str]
) -> dict[str, object]:
    """The arguments converted to their parameters' types; optional ones without a value are omitted.

    Args:
        arguments: The tool's own, by name.
        parameters: The schema of each parameter.
        required: The parameters that are kept whatever their value.
    """
    return {
        name: _convert(name, value, parameters[name])
        for name, value in arguments.items()
        if name in required or not _says_nothing(name, value, parameters[name])
    }


def draw_random_seeds(arguments: Mapping[str, object]) -> tuple[dict[str, object], bool]:
    """Replace each seed of -1 by a random one, and return whether there was any.

    The seed of a single image is removed instead, so that it is drawn where any other missing seed is.
    """
    drawn = dict(arguments)
    if _is_random(drawn.get("seed")):
        del drawn["seed"]
    seeds, sweep, prompts = drawn.get("seeds"), drawn.get("sweep"), drawn.get("prompts")
    if isinstance(seeds, list):
        drawn["seeds"] = _draw(cast("list[object]", seeds))
    if isinstance(sweep, dict):
        drawn["sweep"] = _with_drawn_seeds(cast("dict[object, object]", sweep))
    if isinstance(prompts, list):
        drawn["prompts"] = [
            _with_drawn_seeds(cast("dict[object, object]", each)) if isinstance(each, dict) else each
            for each in cast("list[object]", prompts)
        ]
    return drawn, drawn != dict(arguments)


def _with_drawn_seeds(values: dict[object, object]) -> dict[object, object]:
    """Draw the seeds of a sweep, and of one prompt."""
    drawn = {
        name: _draw(cast("list[object]", value)) if name in _SEEDS and isinstance(value, list) else value
        for name, value in values.items()
        if not (name in _SEEDS and _is_random(value))
    }
    if isinstance(sweep := drawn.get("sweep"), dict):
        drawn["sweep"] = _with_drawn_seeds(cast("dict[object, object]", sweep))
    return drawn


def _draw(seeds: list[object]) -> list[object]:
    return [secrets.randbelow(_MOST_SEEDS) if _is_random(seed) else seed for seed in seeds]


def _is_random(seed: object) -> bool:
    return isinstance(seed, int) and seed == RANDOM_SEED


def _says_nothing(name: str, value: object, schema: Schema) -> bool:
    if not isinstance(value, str):
        return False
    if schema.get("type") == "string" and "enum" not in schema:
        return value == ""
    return value.strip() in {"", "null"} | _DEFAULTS.get(name, frozenset())


def _convert(name: str, value: object, schema: Schema) -> object:
    match schema.get("type"):
        case "array":
            items = cast("Schema", schema.get("items", {}))
            return _list(value, "prompt" if _OBJECT in items.get("anyOf", ()) else items.get("type"))
        case "object":
            return _sweep(value) if name == "sweep" else _from_json(value)
        case kind:
            return _scalar(value, kind)


def _prompt(value: object) -> object:
    """Convert the settings of one prompt that is an object, or text that is one as JSON."""
    settings = _from_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value
    if not isinstance(settings, dict):
        return value
    return {
        name: _sweep(each) if name == "sweep" else _scalar(each, _KINDS.get(str(name)))
        for name, each in cast("dict[object, object]", settings).items()
    }


def _scalar(value: object, kind: object) -> object:
    match kind:
        case "integer":
            return _integer(value)
        case "number":
            return _number(value)
        case "boolean":
            return _boolean(value)
        case "prompt":
            return _prompt(value)
        case _:
            return value


def _integer(value: object) -> object:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    number = _number(value)
    return number if isinstance(number, int) else value


def _number(value: object) -> object:
    """Convert text to the number it spells; whole numbers become integers, however they are written."""
    text = value.strip() if isinstance(value, str) and len(value) <= _LONGEST_NUMBER else ""
    if not _NUMBER.fullmatch(text):
        return value
    number = Decimal(text)
    if number.adjusted() > _LARGEST_EXPONENT:
        return value
    return int(number) if number == number.to_integral_value() else float(number)


def _boolean(value: object) -> object:
    text = value.strip().casefold() if isinstance(value, str) else None
    return text == "true" if text in ("true", "false") else value


def _list(value: object, kind: object) -> object:
    values = _from_json(value)
    if not isinstance(values, list):
        return value
    return [_scalar(each, kind) for each in cast("list[object]", values)]


def _sweep(value: object) -> object:
    sweep = _from_json(value)
    if not isinstance(sweep, dict):
        return value
    return {
        name: _list(values, _KINDS.get(str(name)))
        for name, values in cast("dict[object, object]", sweep).items()
    }


def _from_json(value: object) -> object:
    """Parse text as JSON; any other value, and text that is not JSON, is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return cast("object", json.loads(value))
    except (ValueError, RecursionError):
        return value
