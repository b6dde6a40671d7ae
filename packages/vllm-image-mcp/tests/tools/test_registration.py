"""What a host sees of the tools: their names, parameters, annotations, and every key of every answer."""

import json
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, TypeAlias

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent, Tool
from pydantic import JsonValue

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}

# The plan's parameters, and those added since; `...` is required, anything else the default.
PARAMETERS: dict[str, dict[str, object]] = {
    "generate_image": {
        "prompt": ...,
        "negative_prompt": None,
        "width": None,
        "height": None,
        "aspect_ratio": None,
        "num_inference_steps": None,
        "guidance_scale": None,
        "seed": None,
        "filename": None,
        "quality": None,
        "style": None,
        "output_format": None,
        "lora": None,
        "extra_params": None,
        "max_wait": None,
    },
    "batch_generate": {
        "prompts": ...,
        "negative_prompt": None,
        "width": None,
        "height": None,
        "aspect_ratio": None,
        "num_inference_steps": None,
        "guidance_scale": None,
        "seeds": None,
        "filename": None,
        "quality": None,
        "style": None,
        "output_format": None,
        "lora": None,
        "extra_params": None,
        "count": None,
        "sweep": None,
        "zip": None,
        "wildcards": None,
        "dry_run": None,
        "max_concurrent": None,
        "max_wait": None,
    },
    "edit_image": {
        "prompt": ...,
        "images": ...,
        "mask": None,
        "mask_box": None,
        "mask_polygon": None,
        "outpaint": None,
        "upscale": None,
        "reference_image": None,
        "strength": None,
        "layers": None,
        "negative_prompt": None,
        "width": None,
        "height": None,
        "aspect_ratio": None,
        "num_inference_steps": None,
        "guidance_scale": None,
        "seed": None,
        "filename": None,
        "quality": None,
        "style": None,
        "output_format": None,
        "lora": None,
        "extra_params": None,
        "max_wait": None,
    },
    "get_model_info": {},
    "gpu_status": {},
    "list_presets": {},
    "server_health": {},
    "estimate_generation": {"num_images": 1, "width": None, "height": None, "num_inference_steps": None},
    "cancel_batch": {"batch_id": ...},
    "get_batch": {"batch_id": ..., "wait": True, "resume": False, "max_wait": None},
    "list_batches": {},
    "find_images": {
        "text": None,
        "model": None,
        "seed": None,
        "since": None,
        "until": None,
        "batch_id": None,
        "verdict": None,
        "stars": None,
        "tag": None,
        "new_seeds": None,
        "limit": 10,
        "offset": 0,
    },
    "rate_images": {
        "images": None,
        "batch_id": None,
        "indexes": None,
        "verdict": None,
        "stars": None,
        "tag": None,
        "export_to": None,
        "output_format": None,
    },
}

TYPES = {
    "indexes": ["integer"],
    "export_to": "string",
    "verdict": "string",
    "stars": "integer",
    "tag": "string",
    "new_seeds": "boolean",
    "prompt": "string",
    "images": ["string"],
    "mask": "string",
    "mask_box": ["array"],
    "mask_polygon": ["array"],
    "outpaint": "string",
    "upscale": "number",
    "reference_image": "string",
    "layers": "integer",
    "strength": "number",
    "prompts": ["string", "object"],
    "negative_prompt": "string",
    "width": "integer",
    "height": "integer",
    "aspect_ratio": "string",
    "num_inference_steps": "integer",
    "guidance_scale": "number",
    "seed": "integer",
    "seeds": ["integer"],
    "filename": "string",
    "quality": "string",
    "style": "string",
    "max_concurrent": "integer",
    "num_images": "integer",
    "batch_id": "string",
    "output_format": "string",
    "max_wait": "number",
    "wait": "boolean",
    "resume": "boolean",
    "count": "integer",
    "sweep": "object",
    "zip": "boolean",
    "wildcards": "boolean",
    "dry_run": "boolean",
    "lora": "string",
    "extra_params": "object",
    "text": "string",
    "model": "string",
    "since": "string",
    "until": "string",
    "limit": "integer",
    "offset": "integer",
}

# The plan's annotations, as sent; an edit without a seed generates another image each time.
ANNOTATIONS: dict[str, dict[str, bool]] = {
    "generate_image": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
    "batch_generate": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False},
    "edit_image": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False},
    "get_model_info": {"readOnlyHint": True},
    "gpu_status": {"readOnlyHint": True},
    "list_presets": {"readOnlyHint": True},
    "server_health": {"readOnlyHint": True},
    "estimate_generation": {"readOnlyHint": True},
    "cancel_batch": {"readOnlyHint": False, "destructiveHint": True},
    "get_batch": {"readOnlyHint": False, "destructiveHint": False},
    "list_batches": {"readOnlyHint": True},
    "find_images": {"readOnlyHint": True},
    "rate_images": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
}

# The plan's response formats: every key, and the type of its value. A float may be a whole number.
Shape: TypeAlias = "type | dict[str, Shape] | list[Shape]"

FORMATS: dict[str, dict[str, Shape]] = {
    "generate_image": {
        "status": str,
        "file_path": str,
        "generation_time_seconds": float,
        "parameters_used": {
            "model": str,
            "prompt": str,
            "width": int,
            "height": int,
            "steps": int,
            "guidance_scale": float,
            "seed": int,
        },
    },
    "batch_generate": {
        "status": str,
        "batch_id": str,
        "total_time_seconds": float,
        "images_generated": int,
        "images_failed": int,
        "results": [
            {
                "index": int,
                "prompt": str,
                "file_path": str,
                "generation_time_seconds": float,
                "seed": int,
                "server": str,
            }
        ],
    },
    "edit_image": {"status": str, "file_path": str, "inputs": [str]},
    "get_model_info": {
        "model_name": str,
        "model_type": str,
        "recommended_parameters": {
            "num_inference_steps": int,
            "guidance_scale": float,
            "default_resolution": str,
        },
        "supports_negative_prompt": bool,
        "supported_aspect_ratios": {"1:1": str, "16:9": str, "9:16": str},
        "estimated_vram_gb": float,
        "in_registry": bool,
    },
    "gpu_status": {
        "gpu_name": str,
        "total_vram_gb": float,
        "estimated_model_vram_gb": float,
        "estimated_free_vram_gb": float,
        "recommended_max_concurrent": int,
        "server_url": str,
        "server_status": str,
    },
    "list_presets": {
        "model": str,
        "resolution_multiple": int,
        "max_megapixels": float,
        "presets": {"1:1": str, "16:9": str, "9:16": str, "4:3": str, "3:4": str},
    },
    "server_health": {
        "server_url": str,
        "status": str,
        "model_loaded": str,
        "latency_ms": int,
        "version": str,
    },
    "estimate_generation": {
        "estimated_time_per_image_seconds": float,
        "estimated_total_time_seconds": float,
        "estimated_peak_vram_gb": float,
        "recommended_concurrent": int,
        "resolution": str,
        "total_megapixels_per_image": float,
        "notes": str,
    },
    "cancel_batch": {
        "batch_id": str,
        "status": str,
        "completed": int,
        "cancelled": int,
        "files_saved": [str],
    },
}

ARGUMENTS: dict[str, dict[str, object]] = {
    "generate_image": {"prompt": "a red fox", **SMALL},
    "batch_generate": {"prompts": ["a red fox", "an owl"], **SMALL},
    "estimate_generation": {"num_images": 5},
}


# These are called with the results of another tool.
NEEDING_MORE = {"cancel_batch", "edit_image"}


def misfits(value: JsonValue, shape: Shape, at: str = "answer") -> list[str]:
    """Where a value does not match a shape; it may have more keys."""
    if isinstance(shape, dict) and isinstance(value, dict):
        missing = [f"{at} has no {key}" for key in shape if key not in value]
        there = [misfits(value[key], part, f"{at}.{key}") for key, part in shape.items() if key in value]
        return [*missing, *chain.from_iterable(there)]
    if isinstance(shape, list) and isinstance(value, list) and value:
        return list(chain.from_iterable(misfits(item, shape[0], f"{at}[]") for item in value))
    fits = type(value) is shape or (shape is float and type(value) is int)
    return [] if fits else [f"{at} is {value!r}"]


def json_type(schema: Mapping[str, Any]) -> object:
    """The type of a parameter's schema: a name, or the names of what a list may hold."""
    if schema["type"] != "array":
        return schema["type"]
    return [each["type"] for each in schema["items"].get("anyOf", [schema["items"]])]


def text(result: CallToolResult) -> str:
    """The one text of a result, which comes first."""
    content, *others = result.content
    assert isinstance(content, TextContent)
    assert not any(isinstance(other, TextContent) for other in others)
    return content.text


async def listed(connect: Connect) -> dict[str, Tool]:
    async with connect() as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


async def test_the_protocol_version_is_the_intended_one(connect: Connect, era: str) -> None:
    async with connect() as client:
        assert client.protocol_version == era


async def test_the_tools_are_the_eight_of_the_plan_in_its_order_and_the_later_ones(
    connect: Connect,
) -> None:
    assert list(await listed(connect)) == list(PARAMETERS)


async def test_parameters_and_defaults_are_those_of_the_plan(connect: Connect) -> None:
    found = {
        name: {
            key: ... if key in tool.input_schema.get("required", []) else schema.get("default")
            for key, schema in tool.input_schema["properties"].items()
        }
        for name, tool in (await listed(connect)).items()
    }
    assert found == PARAMETERS


async def test_every_parameter_has_its_type_and_says_what_it_is(connect: Connect) -> None:
    for tool in (await listed(connect)).values():
        for name, schema in tool.input_schema["properties"].items():
            assert (name, json_type(schema)) == (name, TYPES[name])
            assert schema["description"]


async def test_annotations_are_those_of_the_plan(connect: Connect) -> None:
    found = {
        name: tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
        for name, tool in (await listed(connect)).items()
    }
    assert found == {name: {**each, "openWorldHint": False} for name, each in ANNOTATIONS.items()}


async def test_every_tool_has_a_title_and_accepts_only_its_own_parameters(connect: Connect) -> None:
    tools = await listed(connect)
    titles = {tool.title for tool in tools.values()}
    assert None not in titles
    assert len(titles) == len(tools)
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools.values())


async def test_every_tool_has_a_description_and_publishes_its_output_schema(connect: Connect) -> None:
    for name, tool in (await listed(connect)).items():
        assert tool.description
        assert len(tool.description) < 2048  # what a host shows of it
        assert tool.output_schema
        assert set(FORMATS.get(name, {})) <= set(tool.output_schema["properties"])


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NEEDING_MORE])
async def test_every_key_of_the_plan_is_in_the_answer_with_its_type(connect: Connect, name: str) -> None:
    async with connect(gpu_name="NVIDIA GeForce RTX 5090", gpu_vram_gb="32") as client:
        result = await client.call_tool(name, ARGUMENTS.get(name, {}))
    assert not result.is_error, text(result)
    assert misfits(result.structured_content, FORMATS[name]) == []
    assert json.loads(text(result)) == result.structured_content


async def test_every_key_of_the_plan_is_in_the_answer_of_cancel_batch(connect: Connect) -> None:
    async with connect() as client:
        made = await client.call_tool("batch_generate", {"prompts": ["a red fox"], **SMALL})
        assert made.structured_content
        result = await client.call_tool("cancel_batch", {"batch_id": made.structured_content["batch_id"]})
    assert misfits(result.structured_content, FORMATS["cancel_batch"]) == []
    assert json.loads(text(result)) == result.structured_content


async def test_every_key_of_edit_image_is_in_its_answer_next_to_those_of_an_image(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("generate_image", {"prompt": "a red fox", "filename": "fox", **SMALL})
        result = await client.call_tool("edit_image", {"prompt": "make it night", "images": ["fox"]})
    assert misfits(result.structured_content, {**FORMATS["generate_image"], **FORMATS["edit_image"]}) == []
    assert json.loads(text(result)) == result.structured_content


def test_a_mismatched_shape_is_detected() -> None:
    shape: Shape = {"a": int, "b": [float], "c": {"d": str}}
    assert misfits({"a": True, "b": [1, "2"], "c": {}}, shape) == [
        "answer.a is True",
        "answer.b[] is '2'",
        "answer.c has no d",
    ]


async def test_the_host_is_told_what_the_server_is_for(connect: Connect) -> None:
    async with connect() as client:
        assert client.instructions is not None
        assert "generate_image" in client.instructions
        assert client.server_info is not None
        assert client.server_info.name == "vllm-image-mcp"
        assert client.server_info.version == "0.1.0"
