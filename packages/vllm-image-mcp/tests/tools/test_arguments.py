"""Calls as real hosts write them, over MCP: they work, and changes are reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL: dict[str, object] = {"width": "64", "height": 64.0}


@pytest.fixture(params=["2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    """One is enough here: arguments are read behind the protocol."""
    return request.param


def told(result: CallToolResult) -> dict[str, Any]:
    """The result, which is the same as structured content and as text."""
    assert not result.is_error, result.content
    first = result.content[0]
    assert isinstance(first, TextContent)
    assert json.loads(first.text) == result.structured_content
    assert result.structured_content
    return result.structured_content


async def test_text_instead_of_numbers_generates_the_requested_image(
    connect: Connect, omni: "OmniServer"
) -> None:
    arguments = {
        "prompt": "an owl",
        **SMALL,
        "seed": "7",
        "num_inference_steps": "3",
        "filename": "",
        "quality": "",
    }
    async with connect() as client:
        used = told(await client.call_tool("generate_image", arguments))["parameters_used"]
    assert (used["width"], used["height"], used["seed"], used["steps"]) == (64, 64, 7, 3)
    assert omni.requests[0]["seed"] == 7


async def test_lists_and_sweeps_as_json_text_are_read(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        batch = {"prompts": '["an owl", "a hare"]', "seeds": '["3", 4]', "max_concurrent": "auto", **SMALL}
        told(await client.call_tool("batch_generate", batch))
        sweep = {"prompts": '["an owl"]', "sweep": '{"seed": ["5", 6.0]}', **SMALL}
        told(await client.call_tool("batch_generate", sweep))
    assert sorted(each["seed"] for each in omni.requests) == [3, 4, 5, 6]


async def test_a_negative_prompt_that_looks_like_json_is_text(connect: Connect, omni: "OmniServer") -> None:
    omni.runs("Qwen/Qwen-Image")
    async with connect() as client:
        for text in ('["blur"]', "null"):
            told(
                await client.call_tool(
                    "generate_image",
                    {"prompt": "an owl", "negative_prompt": text, "num_inference_steps": 1, **SMALL},
                )
            )
    assert [each["negative_prompt"] for each in omni.requests] == ['["blur"]', "null"]


@pytest.mark.parametrize("seed", [-1, "-1", -1.0])
async def test_the_random_seed_of_other_programs_is_drawn_and_reported(
    connect: Connect, omni: "OmniServer", seed: object
) -> None:
    async with connect() as client:
        result = told(await client.call_tool("generate_image", {"prompt": "an owl", "seed": seed, **SMALL}))
    assert 0 <= omni.requests[0]["seed"] == result["parameters_used"]["seed"]
    assert result["notes"] == ["seed -1 means a random seed: one was drawn, and is in this result."]


@pytest.mark.parametrize(
    "tool", ["get_model_info", "gpu_status", "list_presets", "server_health", "list_batches", "find_images"]
)
async def test_fields_of_the_host_are_ignored_by_every_tool_with_a_note(connect: Connect, tool: str) -> None:
    fields = {"toolCallId": "call_7", "_sessionID": "s", "wait_for_previous": True}
    async with connect() as client:
        notes = told(await client.call_tool(tool, fields))["notes"]
    assert notes[-1] == (
        f"Ignored, because {tool} has no such parameter: 'toolCallId', '_sessionID', 'wait_for_previous'."
    )


async def test_ignored_fields_are_reported_with_images_batches_and_estimates(connect: Connect) -> None:
    async with connect() as client:
        image = await client.call_tool("generate_image", {"prompt": "an owl", "explanation": "x", **SMALL})
        batch = await client.call_tool("batch_generate", {"prompts": ["an owl"], "explanation": "x", **SMALL})
        found = {"batch_id": told(batch)["batch_id"], "wait": "false", "explanation": "x"}
        got = await client.call_tool("get_batch", found)
        cancelled = await client.call_tool("cancel_batch", found)
        estimate = await client.call_tool("estimate_generation", {"num_images": "2", "explanation": "x"})
    for result in (image, batch, got, cancelled, estimate):
        assert "'explanation'" in str(told(result)["notes"])


async def test_notes_reach_a_host_that_gets_only_text(connect: Connect) -> None:
    async with connect(structured_content=False) as client:
        result = await client.call_tool("server_health", {"random_string": "x"})
    first = result.content[0]
    assert isinstance(first, TextContent)
    assert result.structured_content is None
    assert "'random_string'" in json.loads(first.text)["notes"][0]


@pytest.mark.parametrize(
    ("given", "name", "sent", "note"),
    [
        ({"filename": "owl.jpg"}, "owl.jpg", "jpeg", None),
        ({"filename": "owl.JPEG"}, "owl.jpg", "jpeg", None),
        ({"filename": "owl.webp"}, "owl.webp", "webp", None),
        ({"filename": "owl.png", "output_format": "png"}, "owl.png", "png", None),
        (
            {"filename": "owl.png", "output_format": "jpeg"},
            "owl.jpg",
            "jpeg",
            "The image is saved as JPEG, not as .png: output_format is jpeg.",
        ),
        (
            {"filename": "owl.tiff"},
            "owl.tiff.png",
            "png",
            "The image is saved as PNG, not as .tiff: images can be png, jpeg or webp.",
        ),
        ({"filename": "owl v1.5"}, "owl v1.5.png", "png", None),
    ],
)
async def test_the_extension_of_a_filename_decides_the_format_or_a_note_says_why_not(
    *,
    connect: Connect,
    omni: "OmniServer",
    given: dict[str, object],
    name: str,
    sent: str,
    note: str | None,
) -> None:
    async with connect() as client:
        result = told(await client.call_tool("generate_image", {"prompt": "an owl", **given, **SMALL}))
    assert Path(result["file_path"]).name == name
    assert (omni.requests[0].get("output_format") or "png") == sent
    assert [each for each in result["notes"] if "is saved as" in each] == ([note] if note else [])


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({}, "yet. Use generate_image to create one."),
        ({"text": "heron"}, 'Try fewer words, or the beginning of one, such as "sno*". Search without text'),
        ({"seed": 5, "since": "2026-01-01"}, "No image matches seed and since. Search without seed or since"),
        ({"offset": "40"}, "No more images from offset 40 on."),
    ],
)
async def test_a_search_that_finds_nothing_says_what_to_try(
    connect: Connect, given: dict[str, object], note: str
) -> None:
    async with connect() as client:
        result = told(await client.call_tool("find_images", given))
    assert note in result["notes"][0]


async def test_resuming_a_cancelled_batch_says_that_it_is_cancelled_for_good(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.hold_after(0)
    async with connect() as client:
        begun = told(
            await client.call_tool(
                "batch_generate", {"prompts": ["an owl", "a hare"], "max_wait": 0, **SMALL}
            )
        )
        batch = {"batch_id": begun["batch_id"]}
        await client.call_tool("cancel_batch", batch)
        plain = told(await client.call_tool("get_batch", {**batch, "max_wait": 0}))
        resumed = told(await client.call_tool("get_batch", {**batch, "resume": True, "max_wait": 0}))
    assert resumed["status"] == "cancelled"
    assert not any("cannot be resumed" in note for note in plain["notes"])
    assert "This batch was cancelled and cannot be resumed." in resumed["notes"][-1]
