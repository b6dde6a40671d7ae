"""What the tools cost a host's model before its first word, and that short schemas say the same."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import jsonschema
import pytest
from mcp import Client
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.tools.schemas import short_input, short_output

Connect = Callable[..., Client]

MOST_TOKENS = 4_800
CHARACTERS_PER_TOKEN = 3.9
"""Of schemas in compact JSON with short English texts. For these very tools o200k_base came to 4.17,
cl100k_base to 4.37, and the last tokenizer of Claude that is public to 4.02: this is less than each."""


def tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


async def test_tools_and_instructions_stay_within_a_token_limit(connect: Connect) -> None:
    async with connect() as client:
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.input_schema,
                "outputSchema": tool.output_schema,
            }
            for tool in (await client.list_tools()).tools
        ]
        instructions = client.instructions or ""
    assert tokens(json.dumps(tools, separators=(",", ":")) + instructions) <= MOST_TOKENS
    assert 0 < len(instructions) <= 2_048
    assert all(len(str(tool["description"])) <= 2_048 for tool in tools)


def keys(schema: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Every key of a schema that is no name of a property."""
    if isinstance(schema, list):
        for each in cast("list[Any]", schema):
            yield from keys(each)
    if isinstance(schema, dict):
        for key, value in cast("dict[str, Any]", schema).items():
            yield key
            yield from keys(list(value.values()) if key == "properties" else value)


async def test_a_schema_that_leaves_out_properties_leaves_out_only_known_ones(
    connect: Connect,
) -> None:
    async with connect() as client:
        schemas = {tool.name: tool.output_schema or {} for tool in (await client.list_tools()).tools}
    for tool, other in (("get_batch", "batch_generate"), ("edit_image", "generate_image")):
        shared = schemas[tool]["properties"].keys() - {"inputs"}
        assert shared < schemas[other]["properties"].keys()
        assert schemas[tool]["properties"]["status"]["description"] == f"This and the rest as in {other}."


async def test_no_schema_repeats_names_as_titles_or_refers_elsewhere(connect: Connect) -> None:
    async with connect() as client:
        for tool in (await client.list_tools()).tools:
            for schema in (tool.input_schema, tool.output_schema):
                assert not {"title", "$ref", "$defs"} & set(keys(schema))
                jsonschema.Draft202012Validator.check_schema(schema or {})


async def test_a_description_is_not_indented_as_its_source_is(connect: Connect) -> None:
    async with connect() as client:
        for tool in (await client.list_tools()).tools:
            assert not re.search(r"\n| {2}", tool.description or "")


def test_a_parameter_called_title_stays() -> None:
    schema = {"type": "object", "properties": {"title": {"title": "Title", "type": "string"}}, "title": "x"}
    assert short_input(schema) == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "additionalProperties": False,
    }


def test_an_optional_parameter_has_only_its_own_type() -> None:
    either = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "description": "Pixels."}
    count = {"type": "integer", "default": 1}
    schema = {"type": "object", "properties": {"width": either, "count": count}}
    assert short_input(schema)["properties"] == {
        "width": {"type": "integer", "description": "Pixels."},
        "count": count,
    }


def test_the_definitions_of_a_result_are_inlined() -> None:
    schema: dict[str, Any] = {
        "$defs": {"Inner": {"title": "Inner", "description": "x", "type": "object", "properties": {}}},
        "type": "object",
        "properties": {
            "one": {"$ref": "#/$defs/Inner"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Inner"}, "default": []},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Kept."},
            "named": {"anyOf": [{"enum": ["a"], "type": "string"}, {"type": "null"}]},
            "inner": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "null"}], "default": None},
        },
    }
    assert short_output(schema)["properties"] == {
        "one": {"type": "object", "properties": {}},
        "many": {"type": "array", "items": {"type": "object", "properties": {}}},
        "maybe": {"type": ["string", "null"], "description": "Kept."},
        "named": {"anyOf": [{"enum": ["a"], "type": "string"}, {"type": "null"}]},
        "inner": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
    }


@pytest.mark.parametrize("tool", ["generate_image", "gpu_status"])
async def test_without_structured_content_its_schema_is_not_published(tool: str) -> None:
    server = build_server(Settings.from_arguments(structured_content=False))
    assert [each.output_schema for each in await server.list_tools() if each.name == tool] == [None]
