"""Shorten the tools' schemas, which a host's model has to read before its first word."""

from collections.abc import Mapping
from typing import Any, Final, cast

Schema = dict[str, Any]

_NULL: Final[Schema] = {"type": "null"}
_PREFIX: Final = "#/$defs/"


def short_input(schema: Mapping[str, Any]) -> Schema:
    """A tool's parameter schema without titles (they repeat the names) or null (callers omit it instead).

    A null is accepted all the same. Fields that a host adds are ignored, although the schema allows none.
    """
    properties = cast("Mapping[str, Schema]", schema["properties"])
    return {
        **_without(schema, "title"),
        "properties": {name: _parameter(each) for name, each in properties.items()},
        "additionalProperties": False,
    }


def short_output(schema: Mapping[str, Any]) -> Schema:
    """A tool's result schema with definitions inlined, and without titles, defaults and class docstrings.

    Required keys are not listed: whoever reads a result sees what it has.
    """
    return _result(schema, cast("Mapping[str, Schema]", schema.get("$defs", {})))


def _parameter(schema: Schema) -> Schema:
    short = _without(schema, "title", *(["default"] if schema.get("default", ...) is None else []))
    if short.get("additionalProperties") is True:
        del short["additionalProperties"]
    choices = [choice for choice in cast("list[Schema]", short.get("anyOf", [])) if choice != _NULL]
    if len(choices) == 1 and choices[0].get("additionalProperties") is True:
        choices = [_without(choices[0], "additionalProperties")]
    return {**choices[0], **_without(short, "anyOf")} if len(choices) == 1 else short


def _result(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    if name := str(schema.get("$ref", "")).removeprefix(_PREFIX):
        return _result(definitions[name], definitions)
    omitted = ("description", "required") if "properties" in schema else ()
    anything = ("additionalProperties",) if schema.get("additionalProperties") == {} else ()
    short = _without(schema, "title", "default", "$defs", *omitted, *anything)
    for key, value in short.items():
        match key, value:
            case "properties", dict():
                named = cast("Mapping[str, Schema]", value)
                short[key] = {name: _result(each, definitions) for name, each in named.items()}
            case "items" | "additionalProperties", dict():
                short[key] = _result(cast("Schema", value), definitions)
            case "anyOf", list():
                short[key] = [_result(each, definitions) for each in cast("list[Schema]", value)]
            case _:
                pass
    return _nullable(short)


def _nullable(schema: Schema) -> Schema:
    """Write a plain type or null as one list of types, which is shorter."""
    match schema:
        case {"anyOf": [{"type": str() as kind, **rest}, {"type": "null"}]} if not rest:
            return {"type": [kind, "null"], **_without(schema, "anyOf")}
        case _:
            return schema


def _without(schema: Mapping[str, Any], *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
