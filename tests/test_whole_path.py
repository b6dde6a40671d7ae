"""From an MCP host to a saved file and back: a process over stdio, in both eras, simulated and real."""

import hashlib
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent
from PIL import Image

if TYPE_CHECKING:
    from conftest import Listener

Host = Callable[..., AbstractAsyncContextManager[Client]]

SMALL: Mapping[str, object] = {"width": 64, "height": 64, "num_inference_steps": 2}

# The keys of the plan's response formats.
KEYS = {
    "generate_image": {"status", "file_path", "generation_time_seconds", "parameters_used"},
    "batch_generate": {
        *("status", "batch_id", "total_time_seconds", "images_generated", "images_failed", "results"),
    },
    "edit_image": {
        *("status", "file_path", "generation_time_seconds", "parameters_used", "inputs"),
    },
    "get_model_info": {
        *("model_name", "model_type", "recommended_parameters", "supports_negative_prompt"),
        *("supported_aspect_ratios", "estimated_vram_gb", "in_registry"),
    },
    "gpu_status": {
        *("gpu_name", "total_vram_gb", "estimated_model_vram_gb", "estimated_free_vram_gb"),
        *("recommended_max_concurrent", "server_url", "server_status"),
    },
    "list_presets": {"model", "resolution_multiple", "max_megapixels", "presets"},
    "server_health": {"server_url", "status", "model_loaded", "latency_ms", "version"},
    "estimate_generation": {
        *("estimated_time_per_image_seconds", "estimated_total_time_seconds", "estimated_peak_vram_gb"),
        *("recommended_concurrent", "resolution", "total_megapixels_per_image", "notes"),
    },
    "cancel_batch": {"batch_id", "status", "completed", "cancelled", "files_saved"},
}
# Those added to the plan's.
MORE = {"get_batch", "list_batches", "find_images", "rate_images"}
USED = {"model", "prompt", "width", "height", "steps", "guidance_scale", "seed"}


@pytest.fixture(params=[pytest.param("2025-11-25", marks=pytest.mark.legacy_era), "2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def connect(era: str, tmp_path: Path) -> Host:
    """Start the server as a host does, and connect to it in one era."""

    @asynccontextmanager
    async def connected(*arguments: str) -> AsyncGenerator[Client]:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "vllm_image_mcp.server", "--output-dir", str(tmp_path), *arguments],
        )
        mode = "legacy" if era == "2025-11-25" else "auto"
        async with Client(parameters, mode=mode, read_timeout_seconds=60) as client:
            assert client.protocol_version == era
            yield client

    return connected


@pytest.fixture(params=["demo", pytest.param("real", marks=pytest.mark.real)])
def host(connect: Host, request: pytest.FixtureRequest) -> Host:
    """The same with a vLLM-Omni server behind it: the simulated one inside, or a real one."""
    if request.param == "demo":
        return lambda: connect("--demo")
    url = request.getfixturevalue("real_url")
    return lambda: connect("--vllm-url", url)


async def answer(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """A tool's structured answer, which is the same as its text."""
    result = await client.call_tool(tool, arguments)
    content = result.content[0]
    assert isinstance(content, TextContent)
    assert not result.is_error, content.text
    assert json.loads(content.text) == result.structured_content
    assert result.structured_content
    return result.structured_content


def pixels(path: str) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


async def test_every_tool_answers_in_the_format_of_the_plan(host: Host) -> None:
    async with host() as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == set(KEYS) | MORE
        batch = await answer(client, "batch_generate", prompts=["a red fox", "an owl"], **SMALL)
        answers = {
            "generate_image": await answer(client, "generate_image", prompt="a red fox", **SMALL),
            "edit_image": await answer(
                client, "edit_image", prompt="make it night", images=[batch["results"][0]["file_path"]]
            ),
            "batch_generate": batch,
            "cancel_batch": await answer(client, "cancel_batch", batch_id=batch["batch_id"]),
            **{
                tool: await answer(client, tool)
                for tool in (
                    *("get_model_info", "gpu_status", "list_presets", "server_health"),
                    "estimate_generation",
                )
            },
        }
    missing = {tool: keys - set(answers[tool]) for tool, keys in KEYS.items()}
    assert missing == {tool: set[str]() for tool in KEYS}
    assert set(answers["generate_image"]["parameters_used"]) >= USED
    assert answers["server_health"]["status"] == "healthy"
    assert sorted(answers["cancel_batch"]["files_saved"]) == sorted(
        each["file_path"] for each in batch["results"]
    )


async def test_the_same_request_and_seed_give_the_same_pixels(host: Host) -> None:
    async with host() as client:
        first, kept, other = [
            await answer(client, "generate_image", prompt="a red fox", seed=seed, **SMALL)
            for seed in (42, 42, 43)
        ]
        drawn = pixels(first["file_path"])
        Path(first["file_path"]).unlink()
        again = await answer(client, "generate_image", prompt="a red fox", seed=42, **SMALL)
    assert first["parameters_used"] == kept["parameters_used"] == again["parameters_used"]
    assert (kept["file_path"], kept["reused"]) == (first["file_path"], True)
    assert not again["reused"]
    assert drawn == pixels(again["file_path"]) != pixels(other["file_path"])


async def test_every_parameter_that_is_reported_is_in_the_request_that_the_server_received(
    connect: Host, listener: "Listener"
) -> None:
    async with connect("--vllm-url", listener.url) as client:
        told = await answer(
            client, "generate_image", prompt="a red fox", seed=42, guidance_scale=0.5, **SMALL
        )
        batch = await answer(client, "batch_generate", prompts=["an owl"], seeds=[7], **SMALL)
    used = told["parameters_used"]
    picture, owl = listener.requests
    assert picture == {
        "prompt": used["prompt"],
        "model": used["model"],
        "n": 1,
        "size": f"{used['width']}x{used['height']}",
        "response_format": "b64_json",
        "output_compression": 90,
        "output_format": "png",
        "num_inference_steps": used["steps"],
        "guidance_scale": used["guidance_scale"],
        "seed": used["seed"],
    }
    assert (used["seed"], used["guidance_scale"], used["steps"]) == (42, 0.5, 2)
    assert (owl["prompt"], owl["seed"]) == ("an owl", batch["results"][0]["seed"])


async def test_an_image_says_how_it_was_made(host: Host) -> None:
    async with host() as client:
        told = await answer(client, "generate_image", prompt="a red fox", seed=42, **SMALL)
    with Image.open(told["file_path"]) as image:
        image.load()
        recipe = json.loads(image.info["vllm-image"])
        assert (image.format, image.size) == ("PNG", (64, 64))
    used = told["parameters_used"]
    assert (recipe["prompt"], recipe["seed"], recipe["num_inference_steps"]) == ("a red fox", 42, 2)
    assert (recipe["model"], recipe["guidance_scale"]) == (used["model"], used["guidance_scale"])


async def test_an_edit_changes_the_image_names_its_input_and_runs_once(host: Host) -> None:
    async with host() as client:
        fox = await answer(client, "generate_image", prompt="a red fox", seed=42, filename="fox", **SMALL)
        asked = {"prompt": "make it night", "images": ["fox.png"], "seed": 7, "num_inference_steps": 2}
        edited, again, other = [
            await answer(client, "edit_image", **{**asked, **change}) for change in ({}, {}, {"mask": "fox"})
        ]
    assert (edited["inputs"], other["inputs"]) == (["fox.png"], ["fox.png", "fox.png"])
    assert (again["file_path"], again["reused"], edited["reused"]) == (edited["file_path"], True, False)
    assert len({pixels(each["file_path"]) for each in (fox, edited, other)}) == 3
    with Image.open(edited["file_path"]) as image:
        assert image.size == (64, 64)
        recipe = json.loads(image.info["vllm-image"])
    assert [each["sha256"] for each in recipe["inputs"]] == [
        hashlib.sha256(Path(fox["file_path"]).read_bytes()).hexdigest()
    ]


async def test_an_edit_of_a_file_elsewhere_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("/etc/passwd")
    async with host() as client:
        for name in ("../fox.png", "/etc/passwd", "link.png", "http://localhost/fox.png"):
            refused = await client.call_tool("edit_image", {"prompt": "make it night", "images": [name]})
            (content,) = refused.content
            assert isinstance(content, TextContent)
            assert refused.is_error
            assert content.text.startswith(f"images: cannot read '{name}': ")


async def test_progress_comes_with_the_id_of_the_batch_from_the_first_message_on(host: Host) -> None:
    heard: list[tuple[float, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert total == 3
        heard.append((progress, (message or "").partition(":")[0]))

    async with host() as client:
        result = await client.call_tool(
            "batch_generate",
            {"prompts": ["fox", "owl", "hare"], "max_concurrent": 1, **SMALL},
            progress_callback=hear,
        )
    assert result.structured_content
    name = result.structured_content["batch_id"]
    # The last message may be overtaken by the result.
    assert heard[:3] == [(0, name), (1, name), (2, name)]


async def test_a_call_that_answers_early_loses_nothing(host: Host, tmp_path: Path) -> None:
    async with host() as client:
        early = await answer(client, "generate_image", prompt="a red fox", seed=42, max_wait=0, **SMALL)
        late = await answer(client, "get_batch", batch_id=early["batch_id"], max_wait=60)
        (listed,) = (await answer(client, "list_batches"))["batches"]
        found = await answer(client, "find_images", seed=42)
    assert early["status"] in {"running", "success"}
    assert (late["status"], late["images_generated"], listed["status"]) == ("success", 1, "success")
    assert [str(path) for path in tmp_path.glob("*.png")] == [late["results"][0]["file_path"]]
    assert [each["file_path"] for each in found["images"]] == [late["results"][0]["file_path"]]


async def test_an_image_is_shown_as_a_preview_and_linked_in_full(host: Host) -> None:
    async with host() as client:
        result = await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
        sheet = await client.call_tool("batch_generate", {"prompts": ["fox", "owl"], **SMALL})
    assert [each.type for each in result.content] == ["text", "image", "resource_link"]
    assert [each.type for each in sheet.content] == ["text", "image", "resource_link", "resource_link"]


async def test_a_mistake_is_explained_and_the_next_call_works(host: Host) -> None:
    async with host() as client:
        refused = await client.call_tool("generate_image", {"prompt": "a red fox", "width": 1000})
        health = await answer(client, "server_health")
    (content,) = refused.content
    assert isinstance(content, TextContent)
    assert refused.is_error
    assert content.text.startswith("Width 1000 is not a multiple of 16. Nearest valid width is 1008.")
    assert health["status"] == "healthy"
