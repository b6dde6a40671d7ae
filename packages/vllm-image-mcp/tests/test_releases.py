"""Every release that is served: each tool works on a simulated server of each, from 0.14 on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

RELEASES = ("0.14.0", "0.16.0", "0.18.0", "0.20.0", "0.22.0", "0.24.0", "0.26.0", "0.28.0", "0.30.0")
MODELS = ("black-forest-labs/FLUX.2-klein-4B", "Qwen/Qwen-Image-2512", "Tongyi-MAI/Z-Image-Turbo")
SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


async def told(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.parametrize("era", ["2025-11-25"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("version", RELEASES)
async def test_the_tools_work_on_each_release(
    connect: Connect, omni: "OmniServer", version: str, model: str
) -> None:
    omni.runs(model, server_version=version)
    async with connect() as client:
        health = await told(client, "server_health")
        assert health["status"] == "healthy", health
        assert (await told(client, "get_model_info"))["model_name"] == model
        assert await told(client, "gpu_status")
        assert await told(client, "list_presets")
        assert await told(client, "estimate_generation", num_images=2, **SMALL)
        made = await told(client, "generate_image", prompt="a red fox", seed=7, **SMALL)
        used = made["parameters_used"]
        assert (used["width"], used["height"], used["seed"]) == (64, 64, 7)
        batch = await told(client, "batch_generate", prompts=["a fox", "a hare"], max_wait=60, **SMALL)
        assert batch["images_generated"] == 2
        cancelled = await client.call_tool("cancel_batch", {"batch_id": batch["batch_id"]})
        assert cancelled.content


@pytest.mark.parametrize("era", ["2025-11-25"])
@pytest.mark.parametrize("model", ["black-forest-labs/FLUX.2-klein-4B", "Tongyi-MAI/Z-Image-Turbo"])
@pytest.mark.parametrize("version", RELEASES)
async def test_an_image_is_edited_on_each_release(
    connect: Connect, omni: "OmniServer", version: str, model: str
) -> None:
    """Z-Image's profile has a strength of its own, which servers before 0.20 do not know."""
    omni.runs(model, server_version=version)
    async with connect() as client:
        first = await told(client, "generate_image", prompt="a red fox", width=64, height=64)
        edited = await told(client, "edit_image", prompt="make it night", images=[first["file_path"]])
    assert edited["status"] == "success"


@pytest.mark.parametrize("era", ["2025-11-25"])
@pytest.mark.parametrize("version", ["0.14.0", "0.20.0"])
async def test_pipeline_parameters_are_omitted_if_a_release_cannot_send_them(
    connect: Connect, omni: "OmniServer", version: str
) -> None:
    omni.runs("ByteDance-Seed/BAGEL-7B-MoT", server_version=version)
    async with connect() as client:
        made = await told(client, "generate_image", prompt="a red fox", **SMALL)
        assert any("extra_params was not sent" in note for note in made["notes"])
        refused = await client.call_tool(
            "generate_image", {"prompt": "a red fox", "guidance_scale": 7.5, **SMALL}
        )
    assert refused.is_error


@pytest.mark.parametrize("era", ["2025-11-25"])
async def test_a_requested_format_is_refused_if_a_release_does_not_have_it(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", server_version="0.18.0")
    async with connect() as client:
        png = await client.call_tool("generate_image", {"prompt": "a fox", "output_format": "png", **SMALL})
        webp = await client.call_tool("generate_image", {"prompt": "a fox", "output_format": "webp", **SMALL})
    assert (png.is_error, webp.is_error) == (False, True)
    assert "0.18.0 does not support output_format" in str(webp.content)


@pytest.mark.parametrize("era", ["2025-11-25"])
@pytest.mark.parametrize(("version", "most"), [("0.26.0", 1), ("0.30.0", 4)])
async def test_the_model_info_states_as_many_input_images_as_the_release_accepts(
    connect: Connect, omni: "OmniServer", version: str, most: int
) -> None:
    omni.runs("black-forest-labs/FLUX.2-klein-4B", server_version=version)
    async with connect() as client:
        assert (await told(client, "get_model_info"))["max_input_images"] == most
