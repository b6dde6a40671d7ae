"""The completions: what fits the beginning of an argument."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from mcp import Client
from mcp.types import PromptReference, ResourceTemplateReference
from vllm_image_core.models.registry import Registry

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

IMAGE = ResourceTemplateReference(uri="image://{id}{?width,format}")
BATCH = ResourceTemplateReference(uri="batch://{id}")
PROFILE = ResourceTemplateReference(uri="profile://{+model}")
STYLE = ResourceTemplateReference(uri="style://{name}")
WRITE = PromptReference(name="write_image_prompt")
COMPARE = PromptReference(name="compare_settings")


async def completed(
    client: Client, ref: PromptReference | ResourceTemplateReference, name: str, typed: str
) -> list[str]:
    return (await client.complete(ref, {"name": name, "value": typed})).completion.values


async def test_the_addresses_are_those_that_are_listed(connect: Connect) -> None:
    async with connect() as client:
        templates = (await client.list_resource_templates()).resource_templates

    assert {template.uri_template for template in templates} == {
        IMAGE.uri,
        BATCH.uri,
        PROFILE.uri,
        STYLE.uri,
    }


async def test_ratios_are_those_of_the_loaded_model(connect: Connect, omni: "OmniServer") -> None:
    omni.runs("Qwen/Qwen-Image")
    profile = Registry.builtin().by_name("Qwen/Qwen-Image")
    assert profile

    async with connect() as client:
        assert await completed(client, WRITE, "aspect_ratio", "") == list(profile.supported_aspect_ratios)
        assert await completed(client, WRITE, "aspect_ratio", "16") == ["16:9", "9:16"]


async def test_without_a_server_ratios_are_those_of_the_fallback(connect: Connect, nobody: str) -> None:
    async with connect(vllm_url=nobody) as client:
        found = await completed(client, WRITE, "aspect_ratio", "")

    assert found == list(Registry.builtin().fallback.supported_aspect_ratios)


async def test_models_are_found_by_any_part_of_their_names(connect: Connect) -> None:
    async with connect() as client:
        found = await completed(client, PROFILE, "model", "KLEIN-4b")

    assert found == ["black-forest-labs/FLUX.2-klein-4B"]


async def test_batches_and_images_are_the_latest_of_the_folder(connect: Connect) -> None:
    async with connect() as client:
        ids: list[str] = []
        for prompt in ("a fox", "a hill"):
            batch = await client.call_tool("batch_generate", {"prompts": [prompt], "width": 64, "height": 64})
            assert batch.structured_content
            ids.append(batch.structured_content["batch_id"])

        assert await completed(client, BATCH, "id", "batch_") == ids[::-1]
        assert await completed(client, BATCH, "id", ids[0]) == [ids[0]]
        assert len(await completed(client, IMAGE, "id", "img_")) == 2


@pytest.mark.parametrize(
    ("ref", "name", "typed", "expected"),
    [
        (IMAGE, "format", "", ["webp", "jpeg", "png"]),
        (COMPARE, "setting", "g", ["guidance_scale"]),
        (WRITE, "idea", "a", []),
        (PROFILE, "model", "no such model", []),
    ],
)
async def test_other_arguments_have_their_values_or_none(
    connect: Connect,
    ref: PromptReference | ResourceTemplateReference,
    name: str,
    typed: str,
    expected: list[str],
) -> None:
    async with connect() as client:
        found = await completed(client, ref, name, typed)

    assert found[:1] == expected[:1]
    assert set(expected) <= set(found)


async def test_styles_are_completed_by_their_names(connect: Connect) -> None:
    async with connect() as client:
        assert await completed(client, STYLE, "name", "wat") == ["watercolor"]
