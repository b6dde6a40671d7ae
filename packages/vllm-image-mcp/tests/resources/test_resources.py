"""Images, batches and profiles under their addresses, in both protocol eras."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from mcp import Client, MCPError
from mcp.types import INVALID_PARAMS, BlobResourceContents, TextResourceContents
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.models.registry import Registry

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 128, "height": 96}


async def made(client: Client, prompt: str = "a fox", **more: object) -> Path:
    """The file of an image that was made just now."""
    result = await client.call_tool("generate_image", {"prompt": prompt, **SMALL, **more})
    assert result.structured_content, result.content
    return Path(result.structured_content["file_path"])


async def blob(client: Client, uri: str) -> tuple[str | None, bytes]:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, BlobResourceContents)
    return contents.mime_type, base64.b64decode(contents.blob)


async def told(client: Client, uri: str) -> Any:  # noqa: ANN401 - whatever the resource tells
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.mime_type == "application/json"
    return json.loads(contents.text)


async def test_an_image_is_read_byte_for_byte_by_its_file_name(connect: Connect) -> None:
    async with connect() as client:
        path = await made(client, filename="Füchse im Schnee")

        mime_type, data = await blob(client, f"image://{quote(path.name, safe='')}")

    assert (mime_type, data) == ("image/png", path.read_bytes())


@pytest.mark.parametrize(
    ("query", "mime_type", "size"),
    [
        ("?width=64", "image/jpeg", (64, 48)),
        ("?width=64&format=webp", "image/webp", (64, 48)),
        ("?format=webp&width=64", "image/webp", (64, 48)),
        ("?format=webp", "image/webp", (128, 96)),
        ("?format=jpg&width=", "image/jpeg", (128, 96)),
        ("?width=4000", "image/jpeg", (128, 96)),
        ("?width=1", "image/jpeg", (16, 12)),
        ("?width=64&format=png", "image/png", (64, 48)),
        ("?format=png", "image/png", (128, 96)),
        ("?width=&format=", "image/png", (128, 96)),
    ],
)
async def test_a_smaller_image_is_served_as_the_address_says(
    connect: Connect, query: str, mime_type: str, size: tuple[int, int]
) -> None:
    async with connect() as client:
        path = await made(client)

        told_type, data = await blob(client, f"image://{path.name}{query}")

    picture = Picture.check(data)
    assert told_type == mime_type == f"image/{picture.format}"
    assert (picture.width, picture.height) == size


async def test_a_file_of_another_format_has_its_own_type(connect: Connect, tmp_path: Path) -> None:
    async with connect() as client:
        path = await made(client)
        _, small = await blob(client, f"image://{path.name}?format=webp")
        (tmp_path / "mine.WebP").write_bytes(small)

        assert await blob(client, "image://mine.WebP") == ("image/webp", small)


@pytest.mark.parametrize(
    "name",
    [
        "nobody.png",
        "notes.txt",
        "link.png",
        "folder.png",
        ".hidden.png",
        "..%2Foutside.png",
        "%2E%2E%2Foutside.png",
        "..%5Coutside.png",
        "%2Fetc%2Fpasswd",
        "sub%2Finside.png",
        "a%00.png",
        "",
        "x" * 5_000 + ".png",
    ],
)
async def test_nothing_but_an_image_in_the_folder_is_read(
    connect: Connect, tmp_path: Path, name: str
) -> None:
    async with connect(output_dir=tmp_path / "pictures") as client:
        path = await made(client)
        (tmp_path / "outside.png").write_bytes(path.read_bytes())
        (path.parent / "notes.txt").write_text("words")
        (path.parent / ".hidden.png").write_bytes(path.read_bytes())
        (path.parent / "folder.png").mkdir()
        (path.parent / "sub").mkdir()
        (path.parent / "sub" / "inside.png").write_bytes(path.read_bytes())
        (path.parent / "link.png").symlink_to(tmp_path / "outside.png")

        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"image://{name}")

    assert caught.value.code == INVALID_PARAMS
    assert caught.value.data == {"uri": f"image://{name}"}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("width=-5", "width is '-5'. Use a number of pixels from 1 to 4096."),
        ("width=5000", "width is '5000'. Use a number of pixels from 1 to 4096."),
        ("width=64px", "width is '64px'. Use a number of pixels from 1 to 4096."),
        ("format=gif", "format is 'gif'. Use png, webp or jpeg."),
    ],
)
async def test_an_invalid_value_in_the_address_is_refused_with_an_explanation(
    connect: Connect, query: str, text: str
) -> None:
    async with connect() as client:
        path = await made(client)

        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"image://{path.name}?{query}")

    assert (caught.value.code, caught.value.message) == (INVALID_PARAMS, text)


async def test_a_damaged_file_is_called_damaged(connect: Connect) -> None:
    async with connect() as client:
        path = await made(client)
        path.write_bytes(path.read_bytes()[:-100])

        with pytest.raises(MCPError, match=r"^The image '.*' is damaged\."):
            await client.read_resource(f"image://{path.name}")


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"A diary: Tuesday\n", "text"), (b'{"diary": 2}', "JSON"), (b"\0\1diary", "something else")],
)
async def test_a_file_that_is_not_an_image_is_described_and_not_quoted(
    connect: Connect, content: bytes, kind: str
) -> None:
    async with connect() as client:
        path = await made(client)
        path.write_bytes(content)

        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"image://{path.name}")

    assert caught.value.message.endswith(f"is not a PNG, JPEG or WebP image; it is {kind}.")
    assert "diary" not in str(caught.value).lower()
    assert content.hex(" ") not in str(caught.value)


async def test_the_latest_images_are_listed_with_the_parameters_to_repeat_them(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        first = await made(client, "a fox", seed=7)
        await made(client, "a hill")
        listed = (await told(client, "images://latest"))["images"]

        assert [picture["parameters"]["prompt"] for picture in listed] == ["a hill", "a fox"]
        assert listed[1]["file_path"] == str(first)
        first.unlink()
        again = await client.call_tool("generate_image", listed[1]["parameters"])

    assert again.structured_content
    assert again.structured_content["parameters_used"]["seed"] == 7
    assert omni.requests[0] == omni.requests[-1]


async def test_the_latest_images_are_resources_that_can_be_picked(connect: Connect) -> None:
    async with connect() as client:
        path = await made(client, "a fox\nin the snow")
        resources = (await client.list_resources()).resources
        picked = next(resource for resource in resources if resource.uri.startswith("image://"))

        assert (picked.name, picked.title, picked.mime_type) == (path.name, "a fox in the snow", "image/png")
        assert picked.size == len((await blob(client, picked.uri))[1])


async def test_listing_needs_no_folder_and_creates_none(connect: Connect, tmp_path: Path) -> None:
    async with connect(output_dir=tmp_path / "none") as client:
        resources = (await client.list_resources()).resources
        latest = await told(client, "images://latest")

    assert "images://latest" in [resource.uri for resource in resources]
    assert not any(resource.uri.startswith("image://") for resource in resources)
    assert latest == {"images": [], "next_offset": None, "notes": []}
    assert not (tmp_path / "none").exists()


async def test_a_batch_is_read_by_its_id_in_another_process_too(connect: Connect, omni: "OmniServer") -> None:
    omni.failures["a hill"] = (400, "no hills")
    long = "a fox " * 400
    async with connect() as client:
        batch = await client.call_tool("batch_generate", {"prompts": [long, "a hill"], **SMALL})
    assert batch.structured_content
    fox, hill = batch.structured_content["results"]
    async with connect() as client:
        read = await told(client, f"batch://{batch.structured_content['batch_id']}")

    counts = {name: read[name] for name in read if name not in ("images", "created")}
    assert counts == {
        "batch_id": batch.structured_content["batch_id"],
        "status": "partial",
        "images_total": 2,
        "images_generated": 1,
        "images_failed": 1,
        "images_cancelled": 0,
        "images_left": 0,
    }
    assert read["images"][0]["parameters"]["prompt"] == long
    assert read["images"][0]["parameters"]["num_inference_steps"] == 4
    assert {**read["images"][0], "parameters": None} == {
        "index": 0,
        "status": "success",
        "file_path": fox["file_path"],
        "uri": fox["uri"],
        "model": omni.requests[0]["model"],
        "tool": "generate_image",
        "parameters": None,
        "error": None,
    }
    assert read["images"][1]["status"] == "failed"
    assert "no hills" in read["images"][1]["error"]
    assert read["images"][1]["parameters"] == {"prompt": "a hill", "seed": hill["seed"]}


async def test_an_unknown_batch_is_not_found(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("batch://batch_0")

    assert caught.value.code == INVALID_PARAMS


@pytest.mark.parametrize("name", ["Qwen/Qwen-Image", "qwen-image", "fallback"])
async def test_a_profile_is_read_by_the_model_s_name(connect: Connect, name: str) -> None:
    async with connect() as client:
        profile = await told(client, f"profile://{name}")

    expected = Registry.builtin().by_name(name)
    assert expected
    assert profile["default_steps"] == expected.default_steps
    assert profile["sources"] == dict(expected.sources)


async def test_a_model_without_a_profile_is_not_found(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("profile://nobody/nothing")

    assert caught.value.code == INVALID_PARAMS


async def test_styles_are_listed_and_read_by_name(connect: Connect) -> None:
    async with connect() as client:
        listed = await told(client, "styles://all")
        style = await told(client, "style://watercolor")
        with pytest.raises(MCPError, match="Did you mean watercolor"):
            await client.read_resource("style://watercolour")
    assert {"name": "watercolor", "description": "Transparent washes of watercolor on rough paper."} in listed
    assert style["prefix"] == "A watercolor painting of"


async def test_the_skill_on_prompting_is_served_unchanged(connect: Connect) -> None:
    async with connect() as client:
        listed = {str(each.uri): each for each in (await client.list_resources()).resources}
        [skill] = (await client.read_resource("skill://image-prompting/SKILL.md")).contents
    assert isinstance(skill, TextResourceContents)
    assert skill.text.startswith("---\nname: image-prompting\n")
    assert listed["skill://image-prompting/SKILL.md"].mime_type == skill.mime_type == "text/markdown"
