"""The history through an MCP client: what is found and reported, and that it can be made again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import ImageContent, ResourceLink, TextContent

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}


async def found(client: Client, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool("find_images", arguments)
    assert result.structured_content, result.content
    return result.structured_content


async def test_images_are_found_newest_first_with_the_parameters_to_repeat_them(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image")
    async with connect() as client:
        made = await client.call_tool(
            "generate_image", {"prompt": "a red fox", "negative_prompt": "blur", "seed": 7, **SMALL}
        )
        await client.call_tool("generate_image", {"prompt": "an owl", "seed": 8, **SMALL})
        told = await found(client, text="foxes")
        assert made.structured_content
        (image,) = told["images"]
        again = await client.call_tool("generate_image", image["parameters"])
    assert image["file_path"] == made.structured_content["file_path"]
    assert image["uri"] == made.structured_content["uri"]
    assert (image["model"], image["size"]) == ("Qwen/Qwen-Image", "64x64")
    assert image["parameters"]["prompt"] == "a red fox"
    assert (image["parameters"]["seed"], image["parameters"]["negative_prompt"]) == (7, "blur")
    assert again.structured_content
    assert (again.structured_content["reused"], len(omni.requests)) == (True, 2)


async def test_an_edit_is_found_with_the_parameters_for_its_own_tool(
    connect: Connect, omni: "OmniServer", tmp_path: Path
) -> None:
    async with connect() as client:
        await client.call_tool(
            "generate_image",
            {"prompt": "a red fox", "width": 128, "height": 96, "seed": 1, "filename": "fox"},
        )
        edit = {"prompt": "make it night", "images": ["fox"], "mask": "fox.png", "strength": 0.5, "seed": 2}
        made = await client.call_tool("edit_image", edit)
        assert made.structured_content
        edited, generated = (await found(client))["images"]
        assert (edited["tool"], generated["tool"]) == ("edit_image", "generate_image")
        assert edited["parameters"] == {
            "prompt": "make it night",
            "width": 128,
            "height": 96,
            "num_inference_steps": 4,
            "guidance_scale": 1.0,
            "seed": 2,
            "images": ["fox.png"],
            "mask": "fox.png",
            "strength": 0.5,
        }
        again = await client.call_tool(edited["tool"], edited["parameters"])
        assert again.structured_content
        assert again.structured_content["file_path"] == made.structured_content["file_path"]
        assert again.structured_content["reused"]

        (tmp_path / "fox.png").unlink()
        (tmp_path / "fox.png").write_bytes(Path(made.structured_content["file_path"]).read_bytes())
        edited = (await found(client, seed=2))["images"][0]
        assert (edited["tool"], "images" in edited["parameters"]) == ("edit_image", False)
        page = await client.read_resource(f"batch://{made.structured_content['batch_id']}")
    assert '"tool": "edit_image"' in str(page.contents[0])
    assert len(omni.requests) == 2


async def test_they_are_found_by_model_seed_and_date(connect: Connect) -> None:
    async with connect() as client:
        for seed in (7, 8):
            await client.call_tool("generate_image", {"prompt": "a red fox", "seed": seed, **SMALL})
        model = "black-forest-labs/FLUX.2-klein-4B"
        assert len((await found(client, model=model))["images"]) == 2
        assert (await found(client, model="another"))["images"] == []
        (one,) = (await found(client, seed=8))["images"]
        assert one["parameters"]["seed"] == 8
        assert (await found(client, until="2020-01-01"))["images"] == []
        day = one["created"][:10]
        assert len((await found(client, since="2020-01-01", until="2999-12-31"))["images"]) == 2
        assert len((await found(client, since=f"{day}T00:00:00Z"))["images"]) == 2


async def test_they_come_in_pages_with_a_sheet_and_links(connect: Connect) -> None:
    async with connect() as client:
        await client.call_tool("batch_generate", {"prompts": ["fox", "owl", "hare"], **SMALL})
        first = await client.call_tool("find_images", {"limit": 2})
        assert first.structured_content
        rest = await found(client, limit=2, offset=first.structured_content["next_offset"])
    kinds = [type(each) for each in first.content]
    assert kinds == [TextContent, ImageContent, ResourceLink, ResourceLink]
    assert (len(rest["images"]), rest["next_offset"]) == (1, None)
    batches = {each["batch_id"] for each in [*first.structured_content["images"], *rest["images"]]}
    assert len(batches) == 1


async def test_an_empty_folder_has_none(connect: Connect, tmp_path: Path) -> None:
    async with connect() as client:
        result = await client.call_tool("find_images", {})
    note = f"There are no images in {tmp_path} yet. Use generate_image to create one."
    assert result.structured_content == {"images": [], "next_offset": None, "notes": [note]}
    assert len(result.content) == 1
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limit": 21}, "limit: 21 is out of range. Allowed: an integer from 1 to 20."),
        ({"limit": True}, "Allowed: an integer from 1 to 20."),
        ({"offset": -1}, "Allowed: an integer, 0 or more."),
        ({"seed": "7x"}, "seed: "),
        ({"since": "last week"}, "since: 'last week' is not a date."),
        ({"model": 7}, "model: 7 is not a string."),
    ],
)
async def test_invalid_search_values_are_refused_with_an_explanation(
    connect: Connect, arguments: dict[str, object], words: str
) -> None:
    async with connect() as client:
        result = await client.call_tool("find_images", arguments)
    (text,) = result.content
    assert isinstance(text, TextContent)
    assert result.is_error
    assert words in text.text


async def test_the_first_search_in_a_large_folder_reports_its_progress(connect: Connect) -> None:
    told: list[tuple[float, float | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))
        assert message == f"Read {progress:.0f} of {total:.0f} new images"

    async with connect() as client:
        made = await client.call_tool("generate_image", {"prompt": "a red fox", **SMALL})
        assert made.structured_content
        file = Path(made.structured_content["file_path"])
        for number in range(600):
            os.link(file, file.with_name(f"{number}.png"))
        await client.call_tool("find_images", {}, progress_callback=report)
    assert told == [(600, 600)]
