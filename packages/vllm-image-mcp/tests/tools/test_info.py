"""What get_model_info, gpu_status, list_presets, server_health and estimate_generation report."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import Client
from vllm_image_core.models.registry import Registry

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}


async def test_model_info_for_klein_is_that_of_the_plan(connect: Connect) -> None:
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
        "loras": [],
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
        "For edits of one image of this size: Qwen/Qwen-Image-Edit cannot generate images from text alone."
    )
    assert refused.is_error
    assert "Use edit_image for that." in str(refused.content)


async def test_presets_for_klein_are_those_of_the_plan(connect: Connect) -> None:
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


async def test_gpu_status_for_the_configured_card_is_that_of_the_plan(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect(gpu_name="NVIDIA GeForce RTX 5090", gpu_vram_gb="32") as client:
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    planned = {
        "gpu_name": "NVIDIA GeForce RTX 5090",
        "total_vram_gb": 32.0,
        "estimated_model_vram_gb": 16.0,
        "estimated_free_vram_gb": 16.0,
        "recommended_max_concurrent": 4,
        "server_url": omni.url,
        "server_status": "healthy",
    }
    assert {key: status[key] for key in planned} == planned
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


async def test_a_card_too_small_for_the_model_has_nothing_free_and_runs_one_at_a_time(
    connect: Connect,
) -> None:
    async with connect(gpu_vram_gb="8") as client:
        status = (await client.call_tool("gpu_status")).structured_content
    assert status
    assert (status["estimated_free_vram_gb"], status["recommended_max_concurrent"]) == (0.0, 1)
    assert "FLUX.2-klein-4B does not fit on this GPU: it needs about 16.0 GB" in status["notes"][0]


async def test_a_card_between_the_weights_and_the_peak_is_reported_too(
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


async def test_health_reports_the_server_the_model_and_the_version(
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


async def test_health_names_the_address_at_which_a_server_does_answer(
    connect: Connect, omni: "OmniServer", nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(omni.url.rpartition(":")[2])
    monkeypatch.setattr("vllm_image_mcp.doctor.server_facts.USUAL_PORTS", (port,))
    async with connect(vllm_url=nobody) as client:
        health = (await client.call_tool("server_health")).structured_content
    assert health
    assert health["message"].startswith(
        f"Cannot connect to vLLM server at {nobody}. Is the container running?"
    )
    assert health["message"].endswith(f"A server answers on another port: use --vllm-url {omni.url}.")


async def test_health_says_that_images_cannot_be_saved(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with connect(output_dir=str(tmp_path / "file")) as client:
        health = (await client.call_tool("server_health")).structured_content
    assert health
    assert health["status"] == "healthy"
    assert str(tmp_path / "file") in health["message"]
    assert "--output-dir" in health["message"]


async def test_a_server_for_a_language_model_is_not_healthy(
    connect: Connect, scripted: Callable[..., str]
) -> None:
    routes = b'{"paths": {"/v1/chat/completions": {}}}'
    url = scripted({"/openapi.json": (200, routes), "/version": (200, b'{"version":"0.30.0"}')})
    async with connect(vllm_url=url) as client:
        health = (await client.call_tool("server_health")).structured_content
    assert health
    assert health["status"] == "unhealthy"
    assert "it has a language model, or runs without --omni" in health["message"]


async def test_an_estimate_is_for_the_requested_settings(connect: Connect) -> None:
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


async def test_an_estimate_says_how_many_images_of_this_server_it_is_based_on(connect: Connect) -> None:
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
    assert after["basis"] == "1 image on this server, the first one, which may have been slower"
    assert f"Time: {after['basis']}." in after["notes"]
    assert "H100" not in after["notes"]


async def test_an_estimate_generates_no_image(connect: Connect, omni: "OmniServer", tmp_path: Path) -> None:
    async with connect() as client:
        await client.call_tool("estimate_generation", {"num_images": 20})
    assert (omni.requests, list(tmp_path.iterdir())) == ([], [])
