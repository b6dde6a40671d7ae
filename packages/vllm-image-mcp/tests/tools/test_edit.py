"""The tool edit_image, as a host calls it: over MCP, against a simulated server on a port."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent
from PIL import Image
from vllm_image_core.requests.edit_request import MOST_INPUTS
from vllm_image_mcp.tools.edit import MOST_IMAGES

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

QWEN = "Qwen/Qwen-Image"


def png(size: tuple[int, int] = (128, 96), colour: str = "#336699") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


async def told(client: Client, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool("edit_image", arguments)
    assert not result.is_error, words(result)
    assert result.structured_content
    return result.structured_content


async def refused(client: Client, **arguments: object) -> str:
    result = await client.call_tool("edit_image", {"prompt": "make it night", **arguments})
    assert result.is_error
    assert result.structured_content is None
    return words(result)


def words(result: CallToolResult) -> str:
    return " ".join(content.text for content in result.content if isinstance(content, TextContent))


async def fox(client: Client) -> str:
    result = await client.call_tool(
        "generate_image", {"prompt": "a red fox", "width": 128, "height": 96, "seed": 1, "filename": "fox"}
    )
    assert result.structured_content
    return result.structured_content["file_path"]


def test_the_tool_accepts_as_many_images_as_the_core() -> None:
    assert MOST_IMAGES == MOST_INPUTS


@pytest.mark.parametrize("name", ["path", "fox.png", "fox", "image://fox.png"])
async def test_an_image_generated_here_is_edited_by_its_path_its_name_or_its_id(
    connect: Connect, tmp_path: Path, name: str
) -> None:
    async with connect() as client:
        path = await fox(client)
        edited = await told(
            client,
            prompt="make it night",
            images=[path if name == "path" else name],
            seed=2,
            filename="night",
        )
    assert Path(edited["file_path"]) == tmp_path / "night.png"
    with Image.open(edited["file_path"]) as image:
        assert image.size == (128, 96)
    assert edited["inputs"] == ["fox.png"]
    assert edited["parameters_used"]["prompt"] == "make it night"
    assert (edited["parameters_used"]["seed"], edited["parameters_used"]["steps"]) == (2, 4)
    assert Path(path).read_bytes() != Path(edited["file_path"]).read_bytes()


async def test_a_mask_and_a_strength_are_read_with_one_image(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(png(colour="#ffffff"))
    async with connect() as client:
        await fox(client)
        edited = await told(
            client,
            prompt="the fox at night",
            images=["fox.png"],
            mask="mask.png",
            strength=0.5,
        )
    assert edited["inputs"] == ["fox.png", "mask.png"]
    with Image.open(edited["file_path"]) as image:
        recipe = json.loads(image.text["vllm-image"])  # type: ignore[attr-defined]  # a PNG's
    assert (recipe["strength"], [each["role"] for each in recipe["inputs"]]) == (
        0.5,
        ["image", "mask"],
    )


async def test_a_single_name_counts_as_a_list_of_one(connect: Connect) -> None:
    async with connect() as client:
        await fox(client)
        assert (await told(client, prompt="make it night", images="fox.png"))["inputs"] == ["fox.png"]


async def test_the_same_edit_with_a_seed_is_made_once(connect: Connect) -> None:
    async with connect() as client:
        await fox(client)
        first = await told(client, prompt="make it night", images=["fox"], seed=7)
        again = await told(client, prompt="make it night", images=["fox.png"], seed=7)
    assert (again["file_path"], again["reused"]) == (first["file_path"], True)


async def test_dropped_parameters_are_in_receipt_and_notes(connect: Connect) -> None:
    async with connect() as client:
        await fox(client)
        edited = await told(
            client, prompt="make it night", images=["fox"], strength=0.5, negative_prompt="stars"
        )
    changed = {line["parameter"]: line["outcome"] for line in edited["receipt"]}
    assert changed == {"strength": "dropped", "negative_prompt": "dropped", "seed": "drawn"}
    assert any("strength was dropped" in note for note in edited["notes"])


async def test_a_model_that_cannot_edit_says_so_and_which_ones_can(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.runs(QWEN)
    async with connect() as client:
        text = await refused(client, images=["/etc/passwd"])
    assert f"{QWEN} does not edit images" in text
    assert "black-forest-labs/FLUX.2-klein-4B" in text
    assert "passwd" not in text


ELSEWHERE = (
    *("../outside.png", "/etc/passwd", "link.png", "linked/secret.png", "gone.png", "sub"),
    *("https://example.org/fox.png", "file:///etc/passwd"),
)


async def test_a_host_cannot_read_forbidden_files_through_us(connect: Connect, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (out / "fox.png").write_bytes(png())
    (out / "link.png").symlink_to(tmp_path / "outside.png")
    (out / "linked").symlink_to(tmp_path)
    async with connect(output_dir=out) as client:
        refusals = {("images", name): await refused(client, images=[name]) for name in ELSEWHERE}
        refusals |= {("mask", name): await refused(client, images=["fox"], mask=name) for name in ELSEWHERE}
    for (parameter, name), text in refusals.items():
        assert text.startswith(f"{parameter}: cannot read '{name}': ")
        assert "--allow-dir" in text
    assert not [path for path in out.iterdir() if path.name.startswith("img_")]


async def test_a_folder_that_the_user_allowed_is_read(connect: Connect, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.png").write_bytes(png())
    async with connect(output_dir=tmp_path / "out", allow_dir=(photos,)) as client:
        edited = await told(client, prompt="make it night", images=[str(photos / "holiday.png")])
    assert edited["inputs"] == ["holiday.png"]
    assert b"photos" not in Path(edited["file_path"]).read_bytes()


MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"images": []}, "1 to 4"),
    ({"images": ["fox"] * 5}, "1 to 4"),
    ({"images": None}, "not the name of an image"),
    ({"images": [7]}, "not the name of an image"),
    ({"images": {"path": "fox"}}, "not the name of an image"),
    ({"images": ["fox", "gone"]}, "images[1]"),
    ({"strength": 2}, "strength: 2 is out of range"),
    ({"strength": True, "mask": "fox"}, "strength: True is not a number"),
    ({"seed": True}, "seed: True is not an integer"),
    ({"num_inference_steps": 0}, "num_inference_steps"),
    ({"prompt": " "}, "The prompt is empty"),
    ({"filename": "../x"}, "filename"),
    ({"mask": ["fox"]}, "mask"),
    ({"wdth": 64}, "edit_image has no parameter 'wdth'"),
    ({"mask_box": [[0, 0, 0, 1]]}, "mask_box: a list does not describe an area of the image"),
    ({"upscale": 2}, "does not support upscale and would ignore it"),
    ({"layers": 3}, "Models that do: Qwen/Qwen-Image-Layered"),
    ({"reference_image": "gone"}, "reference_image: cannot read 'gone'"),
)


async def test_unusable_images_are_explained(connect: Connect) -> None:
    async with connect() as client:
        await fox(client)
        for arguments, part in MISTAKES:
            assert part in await refused(client, **{"images": ["fox"], **arguments})


async def test_a_file_that_is_not_an_image_is_refused_without_quoting_it(
    connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("the password is hunter2", "utf-8")
    (tmp_path / "half.png").write_bytes(png()[:-30])
    (tmp_path / "small.png").write_bytes(png((32, 32)))
    async with connect() as client:
        texts = [await refused(client, images=[name]) for name in ("notes.png", "half.png", "small.png")]
    assert "hunter2" not in "".join(texts)
    assert all("images: " in text for text in texts)
    assert "at least 64 pixels a side" in texts[2]


async def test_an_edit_has_the_size_and_the_format_that_were_requested(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        await fox(client)
        wide = await told(
            client, prompt="wider", images=["fox"], aspect_ratio="16:9", output_format="webp", seed=3
        )
        small = await told(client, prompt="small", images=["fox"], width=64, height=48)
    assert wide["file_path"].endswith(".webp")
    assert (wide["parameters_used"]["width"], wide["parameters_used"]["height"]) == (1024, 576)
    assert small["parameters_used"]["width"] == 64
    assert [sent["size"] for sent in omni.requests[1:]] == ["1024x576", "64x48"]


async def test_a_box_is_drawn_and_sent_as_a_mask_and_recalled(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        await fox(client)
        box = {"mask_box": [[0.5, 0, 1, 1]], "strength": 0.5, "seed": 7}
        first = await told(client, prompt="a moon", images=["fox"], **box)
        found = (await client.call_tool("find_images", {})).structured_content
        assert found
        parameters = found["images"][0]["parameters"]
        assert parameters["mask_box"] == [[0.5, 0.0, 1.0, 1.0]]
        again = await told(client, **parameters)
    with Image.open(io.BytesIO(omni.requests[1]["mask_image"][0])) as mask:
        assert (mask.size, mask.getbbox()) == ((128, 96), (64, 0, 128, 96))
    assert again["reused"]
    assert again["file_path"] == first["file_path"]


async def test_an_image_is_outpainted_and_enlarged_if_the_model_supports_it(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        await fox(client)
        wide = await told(client, prompt="a forest", images=["fox"], outpaint="16:9")
    used = wide["parameters_used"]
    assert (used["width"], used["height"]) == (176, 96)
    omni.runs("Tongyi-MAI/Z-Image-Turbo")
    async with connect() as client:
        large = await told(client, prompt="a fox", images=["fox"], upscale=2)
    used = large["parameters_used"]
    assert (used["width"], used["height"]) == (256, 192)
    assert omni.requests[-1]["strength"] == "0.3"


@pytest.mark.parametrize(
    "asked", [{"background": "transparent"}, {"transparent": True}, {"transparent_background": "true"}]
)
@pytest.mark.parametrize("tool", ["generate_image", "edit_image"])
async def test_transparency_is_refused_with_the_models_that_support_it(
    connect: Connect, omni: "OmniServer", tool: str, asked: dict[str, Any]
) -> None:
    async with connect() as client:
        await fox(client)
        images = {"images": ["fox"]} if tool == "edit_image" else {}
        result = await client.call_tool(tool, {"prompt": "a fox", **images, **asked})
    assert result.is_error
    assert "Models that split an image into transparent layers: Qwen/Qwen-Image-Layered" in words(result)
    assert len(omni.requests) == 1


async def test_a_layered_model_works_through_the_tool(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        await fox(client)
    omni.runs("Qwen/Qwen-Image-Layered")
    async with connect() as client:
        asked = {"layers": 3, "background": "transparent", "extra_params": {"resolution": 640}}
        await told(client, prompt="a fox on a meadow", images=["fox"], **asked)
    sent = omni.requests[-1]
    assert (sent["layers"], sent["resolution"], sent["background"]) == ("3", "640", "transparent")
