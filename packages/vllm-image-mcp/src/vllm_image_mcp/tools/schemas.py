"""A tool's schemas as hosts get them: short, since a host's model reads them before its first word."""

from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = ["short_input", "short_output"]

Schema = dict[str, Any]

_NULL: Final[Schema] = {"type": "null"}
_PREFIX: Final = "#/$defs/"


def short_input(schema: Mapping[str, Any]) -> Schema:
    """A tool's parameters without titles, which repeat the names, and without null: leaving out says it.

    A null is taken all the same. Fields that a host adds are ignored, though the schema allows none.
    """
    properties = cast("Mapping[str, Schema]", schema["properties"])
    return {
        **_without(schema, "title"),
        "properties": {name: _parameter(each) for name, each in properties.items()},
        "additionalProperties": False,
    }


def short_output(schema: Mapping[str, Any]) -> Schema:
    """A tool's result with definitions where they are used, and without titles, defaults and class texts.

    Inside of it nothing is said to be required: who reads a result sees what is there.
    """
    short = _result(schema, cast("Mapping[str, Schema]", schema.get("$defs", {})))
    return {**short, "required": schema["required"]} if "required" in schema else short


def _parameter(schema: Schema) -> Schema:
    kept = _without(schema, "title", *(["default"] if schema.get("default", ...) is None else []))
    choices = [choice for choice in cast("list[Schema]", kept.get("anyOf", [])) if choice != _NULL]
    return {**choices[0], **_without(kept, "anyOf")} if len(choices) == 1 else kept


def _result(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    if name := str(schema.get("$ref", "")).removeprefix(_PREFIX):
        return _result(definitions[name], definitions)
    summed_up = ("description", "required") if "properties" in schema else ()
    anything = ("additionalProperties",) if schema.get("additionalProperties") == {} else ()
    kept = _without(schema, "title", "default", "$defs", *summed_up, *anything)
    for key, value in kept.items():
        match key, value:
            case "properties", dict():
                named = cast("Mapping[str, Schema]", value)
                kept[key] = {name: _result(each, definitions) for name, each in named.items()}
            case "items" | "additionalProperties", dict():
                kept[key] = _result(cast("Schema", value), definitions)
            case "anyOf", list():
                kept[key] = [_result(each, definitions) for each in cast("list[Schema]", value)]
            case _:
                pass
    return kept


def _without(schema: Mapping[str, Any], *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
