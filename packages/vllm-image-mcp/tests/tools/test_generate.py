"""The tool generate_image: the file that it saves and what it returns."""

from collections.abc import Callable
from pathlib import Path

from mcp import Client

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}


async def test_an_image_is_a_png_at_the_reported_path(connect: Connect, tmp_path: Path) -> None:
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


async def test_an_image_may_have_a_name(connect: Connect, tmp_path: Path) -> None:
    async with connect() as client:
        names = [
            Path(
                (
                    await client.call_tool(
                        "generate_image", {"prompt": "a red fox", "filename": "fox", **SMALL}
                    )
                ).structured_content["file_path"]  # type: ignore[index]  # an image was generated
            )
            for _ in range(2)
        ]
    assert names == [tmp_path / "fox.png", tmp_path / "fox_2.png"]
