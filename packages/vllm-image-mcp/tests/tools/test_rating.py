"""Keeping, rejecting and finding images through an MCP client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import TextContent

Connect = Callable[..., Client]

FOXES = {"prompts": ["a red fox"], "count": 6, "width": 64, "height": 64}


async def answer(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content
    return result.structured_content


async def test_images_of_a_sheet_are_kept_and_rejected_by_number_and_taken_back(connect: Connect) -> None:
    async with connect() as client:
        batch_id = (await answer(client, "batch_generate", **FOXES))["batch_id"]
        kept = await answer(client, "rate_images", batch_id=batch_id, indexes=[2, 5], verdict="keep", stars=4)
        found = await answer(client, "find_images", verdict="keep", stars=3)
        assert {image["file_path"] for image in found["images"]} == {*kept["file_paths"]}
        assert [(image["kept"], image["stars"]) for image in found["images"]] == [(True, 4)] * 2
        rejected = await answer(client, "rate_images", batch_id=batch_id, indexes=[0], verdict="reject")
        [binned] = (await answer(client, "find_images", verdict="reject"))["images"]
        assert [binned["file_path"]] == rejected["file_paths"]
        assert Path(binned["file_path"]).parent.name == "rejected"
        back = await answer(client, "rate_images", images=rejected["file_paths"], verdict="clear", tag="hero")
        assert Path(back["file_paths"][0]).parent.name != "rejected"
        [tagged] = (await answer(client, "find_images", tag="hero"))["images"]
        assert (tagged["file_path"], tagged["tag"]) == (back["file_paths"][0], "hero")


async def test_more_like_the_kept_ones_takes_one_call(connect: Connect) -> None:
    async with connect() as client:
        batch = await answer(client, "batch_generate", **FOXES)
        await answer(client, "rate_images", batch_id=batch["batch_id"], indexes=[1], verdict="keep")
        [image] = (await answer(client, "find_images", verdict="keep", new_seeds=True))["images"]
        assert image["parameters"]["prompt"] == "a red fox"
        assert image["parameters"]["seed"] not in {each["seed"] for each in batch["results"]}
        again = await answer(client, "generate_image", **image["parameters"])
        assert (again["status"], again["reused"]) == ("success", False)


async def test_chosen_images_are_kept_and_exported_into_an_allowed_folder(
    connect: Connect, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    async with connect(allow_dir=[project]) as client:
        batch_id = (await answer(client, "batch_generate", **FOXES))["batch_id"]
        chosen = {"batch_id": batch_id, "indexes": [1, 4]}
        both = await answer(
            client, "rate_images", **chosen, verdict="keep", export_to="site/img", output_format="webp"
        )
        folder = project / "site" / "img"
        assert sorted(map(Path, both["exported"])) == sorted(folder.iterdir())
        assert [path.suffix for path in folder.iterdir()] == [".webp", ".webp"]
        assert len((await answer(client, "find_images", verdict="keep"))["images"]) == 2
        only = await answer(client, "rate_images", images=both["file_paths"], export_to=str(project))
        assert (only["file_paths"], len(only["exported"])) == ([], 2)
        result = await client.call_tool(
            "rate_images", {**chosen, "verdict": "reject", "export_to": str(folder), "output_format": "webp"}
        )
        assert result.is_error
        assert len((await answer(client, "find_images", verdict="keep"))["images"]) == 2  # nothing was done


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("rate_images", {"verdict": "keep"}, "images: None is not a list with at least one entry"),
        ("rate_images", {"batch_id": "batch_1", "verdict": "keep"}, "indexes: None is not a list"),
        ("rate_images", {"images": ["none.png"], "verdict": "keep"}, "is not an image in"),
        ("rate_images", {"images": ["none.png"], "verdict": "love"}, "'love' is not a verdict"),
        ("rate_images", {"images": ["none.png"], "export_to": "/etc"}, "is not an allowed folder"),
        ("rate_images", {"images": ["none.png"], "export_to": "site"}, "is not an absolute path"),
        ("find_images", {"verdict": "clear"}, "'clear' cannot be searched for"),
        ("find_images", {"stars": 9}, "stars: 9 is out of range"),
    ],
)
async def test_impossible_ratings_are_explained(
    connect: Connect, tool: str, arguments: dict[str, object], says: str
) -> None:
    async with connect() as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert isinstance(result.content[0], TextContent)
    assert says in result.content[0].text
    assert "edit_image" not in result.content[0].text
