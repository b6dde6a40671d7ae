"""What a host sees of the tools: their names, parameters, annotations, and every key of every answer."""

import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent, Tool
from pydantic import JsonValue
from vllm_image_core.models.registry import Registry

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}

# The plan's parameters, and those that came to it; `...` is required, anything else the default.
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
        "output_format": None,
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
        "quality": None,
        "sweep": None,
        "max_concurrent": None,
        "max_wait": None,
    },
    "edit_image": {
        "prompt": ...,
        "images": ...,
        "mask": None,
        "strength": None,
        "negative_prompt": None,
        "num_inference_steps": None,
        "guidance_scale": None,
        "seed": None,
        "filename": None,
        "quality": None,
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
        "limit": 10,
        "offset": 0,
    },
}

TYPES = {
    "prompt": "string",
    "images": ["string"],
    "mask": "string",
    "strength": "number",
    "prompts": ["string"],
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
    "max_concurrent": "integer",
    "num_images": "integer",
    "batch_id": "string",
    "output_format": "string",
    "max_wait": "number",
    "wait": "boolean",
    "resume": "boolean",
    "sweep": "object",
    "text": "string",
    "model": "string",
    "since": "string",
    "until": "string",
    "limit": "integer",
    "offset": "integer",
}

# The plan's annotations, as they stand on the wire; an edit without a seed makes another image each time.
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


# These are called for what another tool has made.
NEEDING_MORE = {"cancel_batch", "edit_image"}


def misfits(value: JsonValue, shape: Shape, at: str = "answer") -> list[str]:
    """Where a value is not of a shape; it may have more keys."""
    if isinstance(shape, dict) and isinstance(value, dict):
        missing = [f"{at} has no {key}" for key in shape if key not in value]
        there = [misfits(value[key], part, f"{at}.{key}") for key, part in shape.items() if key in value]
        return [*missing, *chain.from_iterable(there)]
    if isinstance(shape, list) and isinstance(value, list) and value:
        return list(chain.from_iterable(misfits(item, shape[0], f"{at}[]") for item in value))
    fits = type(value) is shape or (shape is float and type(value) is int)
    return [] if fits else [f"{at} is {value!r}"]


def json_type(schema: Mapping[str, Any]) -> object:
    """The type of a parameter's schema: a name, or a name in a list."""
    return [schema["items"]["type"]] if schema["type"] == "array" else schema["type"]


def text(result: CallToolResult) -> str:
    """The one text of a result, which comes first."""
    content, *others = result.content
    assert isinstance(content, TextContent)
    assert not any(isinstance(other, TextContent) for other in others)
    return content.text


async def listed(connect: Connect) -> dict[str, Tool]:
    async with connect() as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


async def test_the_era_is_the_one_that_was_meant(connect: Connect, era: str) -> None:
    async with connect() as client:
        assert client.protocol_version == era


async def test_the_tools_are_the_plans_eight_in_its_order_and_those_that_came_to_them(
    connect: Connect,
) -> None:
    assert list(await listed(connect)) == list(PARAMETERS)


async def test_parameters_and_defaults_are_the_plans(connect: Connect) -> None:
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


async def test_annotations_are_the_plans(connect: Connect) -> None:
    found = {
        name: tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
        for name, tool in (await listed(connect)).items()
    }
    assert found == {name: {**each, "openWorldHint": False} for name, each in ANNOTATIONS.items()}


async def test_every_tool_has_a_title_and_takes_no_parameters_but_its_own(connect: Connect) -> None:
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


async def test_every_key_of_edit_image_is_in_its_answer_beside_those_of_a_picture(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("generate_image", {"prompt": "a red fox", "filename": "fox", **SMALL})
        result = await client.call_tool("edit_image", {"prompt": "make it night", "images": ["fox"]})
    assert misfits(result.structured_content, {**FORMATS["generate_image"], **FORMATS["edit_image"]}) == []
    assert json.loads(text(result)) == result.structured_content


def test_a_shape_that_does_not_fit_is_seen() -> None:
    shape: Shape = {"a": int, "b": [float], "c": {"d": str}}
    assert misfits({"a": True, "b": [1, "2"], "c": {}}, shape) == [
        "answer.a is True",
        "answer.b[] is '2'",
        "answer.c has no d",
    ]


async def test_model_info_is_the_plans_for_klein(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("get_model_info")
    assert result.structured_content == {
        "model_name": "black-forest-labs/FLUX.2-klein-4B",
        "model_type": "distilled",
        "recommended_parameters": {
            "num_inference_steps": 4,
            "guidance_scale": 1.0,
            "default_resolution": "1024x1024",
        },
        "supports_negative_prompt": False,
        "supported_aspect_ratios": {
            "1:1": "1024x1024",
            "16:9": "1024x576",
            "9:16": "576x1024",
            "4:3": "1024x768",
            "3:4": "768x1024",
        },
        "estimated_vram_gb": 16.0,
        "in_registry": True,
        "profile": "black-forest-labs/FLUX.2-klein-4B",
        "resolution_multiple": 16,
        "max_megapixels": 4.0,
        "qualities": [],
        "max_input_images": 4,
        "tasks": {
            "text_to_image": True,
            "edit": {"max_images": 4, "mask": True, "strength": "with_mask", "layers": None},
        },
        "prompting": Registry.builtin().find("FLUX.2-klein-4B").profile.prompting,
        "licence": None,
        "notes": [],
    }


@pytest.mark.parametrize(
    ("model", "tasks"),
    [
        (
            "Qwen/Qwen-Image-Edit-2509",
            {
                "text_to_image": False,
                "edit": {"max_images": 4, "mask": False, "strength": False, "layers": None},
            },
        ),
        (
            "Qwen/Qwen-Image-Layered",
            {
                "text_to_image": False,
                "edit": {"max_images": 1, "mask": False, "strength": False, "layers": 4},
            },
        ),
        (
            "Tongyi-MAI/Z-Image",
            {
                "text_to_image": True,
                "edit": {"max_images": 1, "mask": False, "strength": True, "layers": None},
            },
        ),
        ("Qwen/Qwen-Image", {"text_to_image": True, "edit": None}),
    ],
)
async def test_model_info_says_what_the_model_can_do(
    connect: Connect, omni: "OmniServer", model: str, tasks: dict[str, object]
) -> None:
    omni.runs(model)
    async with connect() as client:
        info = (await client.call_tool("get_model_info")).structured_content
    assert info
    assert info["tasks"] == tasks


async def test_a_model_that_only_edits_says_so_before_an_image_is_asked_of_it(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image-Edit")
    async with connect() as client:
        info = (await client.call_tool("get_model_info")).structured_content
        sizes = (await client.call_tool("list_presets")).structured_content
        estimate = (await client.call_tool("estimate_generation")).structured_content
        refused = await client.call_tool("generate_image", {"prompt": "an owl"})
    assert info
    assert sizes
    assert estimate
    only = (
        "Qwen/Qwen-Image-Edit only edits: call edit_image with 1 image. "
        "generate_image and batch_generate fail."
    )
    assert info["notes"] == [only]
    assert only in sizes["notes"]
    assert "edit_image itself takes no size" in sizes["notes"][-1]
    assert estimate["notes"].startswith(
        "For edits of one image of this size: Qwen/Qwen-Image-Edit makes no images"
    )
    assert refused.is_error
    assert "Use edit_image for that." in str(refused.content)


async def test_presets_are_the_plans_for_klein(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("list_presets")
    assert result.structured_content == {
        "model": "black-forest-labs/FLUX.2-klein-4B",
        "resolution_multiple": 16,
        "max_megapixels": 4.0,
        "presets": {
            "1:1": "1024x1024",
            "16:9": "1024x576",
            "9:16": "576x1024",
            "4:3": "1024x768",
            "3:4": "768x1024",
        },
        "default_resolution": "1024x1024",
        "notes": ["Width and height must be multiples of 16, with at most 4 megapixels together."],
    }


async def test_gpu_status_is_the_plans_for_the_card_that_was_configured(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect(gpu_name="NVIDIA GeForce RTX 5090", gpu_vram_gb="32") as client:
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    assert {key: status[key] for key in FORMATS["gpu_status"]} == {
        "gpu_name": "NVIDIA GeForce RTX 5090",
        "total_vram_gb": 32.0,
        "estimated_model_vram_gb": 16.0,
        "estimated_free_vram_gb": 16.0,
        "recommended_max_concurrent": 4,
        "server_url": omni.url,
        "server_status": "healthy",
    }
    assert status["sources"]["gpu_name"] == "configured (--gpu-name, --gpu-vram-gb)"
    assert status["sources"]["total_vram_gb"] == "configured (--gpu-name, --gpu-vram-gb)"


async def test_every_number_of_gpu_status_has_a_source(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    numbers = {key for key in status if key.endswith(("_gb", "_mb", "_concurrent", "_name"))}
    assert numbers <= set(status["sources"])
    assert status["peak_memory_mb"] > 0
    assert "/metrics" in status["sources"]["peak_memory_mb"]


async def test_a_card_too_small_for_the_model_has_nothing_free_and_makes_one_at_a_time(
    connect: Connect,
) -> None:
    async with connect(gpu_vram_gb="8") as client:
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    assert (status["estimated_free_vram_gb"], status["recommended_max_concurrent"]) == (0.0, 1)
    assert "FLUX.2-klein-4B does not fit on this card: it needs about 16.0 GB" in status["notes"][0]


async def test_a_card_between_the_weights_and_the_peak_is_told_of_too(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("Tongyi-MAI/Z-Image-Turbo")
    async with connect(gpu_vram_gb="24") as client:
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    assert "with an image in progress it needs about 26.6 GB" in status["notes"][0]
    assert status["sources"]["recommended_max_concurrent"].startswith(
        "estimated free memory / 6 GB per image"
    )


async def test_health_tells_the_server_its_model_and_its_version(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        health = (await client.call_tool("server_health")).structured_content
    assert health
    assert health.pop("latency_ms") >= 1
    assert health == {
        "server_url": omni.url,
        "status": "healthy",
        "model_loaded": "black-forest-labs/FLUX.2-klein-4B",
        "version": "0.30.0",
        "message": None,
        "notes": [],
        "servers": [],
    }


async def test_an_estimate_is_for_what_was_asked(connect: Connect) -> None:
    async with connect() as client:
        one = (
            await client.call_tool("estimate_generation", {"width": 512, "height": 512})
        ).structured_content
        five = (
            await client.call_tool("estimate_generation", {"width": 512, "height": 512, "num_images": 5})
        ).structured_content
    assert one
    assert five
    assert (one["resolution"], one["total_megapixels_per_image"]) == ("512x512", 0.26)
    assert five["estimated_total_time_seconds"] == pytest.approx(
        5 * one["estimated_time_per_image_seconds"], abs=0.05
    )
    assert "profile" in one["basis"]


async def test_an_estimate_says_how_many_pictures_of_this_server_it_rests_on(connect: Connect) -> None:
    async with connect() as client:
        before = (
            await client.call_tool("estimate_generation", {"width": 512, "height": 512})
        ).structured_content
        await client.call_tool("generate_image", {"prompt": "a fox", "width": 512, "height": 512})
        after = (
            await client.call_tool("estimate_generation", {"width": 512, "height": 512})
        ).structured_content
    assert before
    assert after
    assert before.keys() == after.keys()
    assert before["basis"] == "nothing measured yet: from the profile, may be off by half"
    assert after["basis"] == "1 picture on this server, the first one, which may have been slower"
    assert f"Time: {after['basis']}." in after["notes"]
    assert "H100" not in after["notes"]


async def test_an_estimate_makes_no_picture(connect: Connect, omni: "OmniServer", tmp_path: Path) -> None:
    async with connect() as client:
        await client.call_tool("estimate_generation", {"num_images": 20})
    assert (omni.requests, list(tmp_path.iterdir())) == ([], [])


async def test_a_picture_is_a_png_at_the_path_that_was_told(connect: Connect, tmp_path: Path) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_image", {"prompt": "a red fox", "seed": 42, **SMALL})
    assert result.structured_content
    path = Path(result.structured_content["file_path"])
    assert (path.parent, path.is_absolute()) == (tmp_path, True)
    assert path.name.startswith("img_")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert result.structured_content["parameters_used"] == {
        "model": "black-forest-labs/FLUX.2-klein-4B",
        "prompt": "a red fox",
        "negative_prompt": None,
        "width": 64,
        "height": 64,
        "steps": 4,
        "guidance_scale": 1.0,
        "seed": 42,
    }
    assert result.structured_content["notes"] == []


async def test_a_picture_may_have_a_name(connect: Connect, tmp_path: Path) -> None:
    async with connect() as client:
        names = [
            Path(
                (
                    await client.call_tool(
                        "generate_image", {"prompt": "a red fox", "filename": "fox", **SMALL}
                    )
                ).structured_content["file_path"]  # type: ignore[index]  # a picture was made
            )
            for _ in range(2)
        ]
    assert names == [tmp_path / "fox.png", tmp_path / "fox_2.png"]


async def test_the_host_is_told_what_the_server_is_for(connect: Connect) -> None:
    async with connect() as client:
        assert client.instructions is not None
        assert "generate_image" in client.instructions
        assert client.server_info is not None
        assert client.server_info.name == "vllm-image-mcp"
        assert client.server_info.version == "0.1.0"
