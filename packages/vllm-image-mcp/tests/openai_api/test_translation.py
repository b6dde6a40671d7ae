"""Requests of the OpenAI images API are translated for the loaded model, and changes are reported."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from vllm_image_core import Studio
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_mcp.openai_api.request_body import ImageBody, ParsedBody, Uploads
from vllm_image_mcp.openai_api.translation import Translation, UnknownModel, translate

if TYPE_CHECKING:
    from conftest import OmniServer


@pytest.fixture
async def studio(omni: "OmniServer", tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(omni.url, output_dir=tmp_path) as opened:
        yield opened


async def translated(studio: Studio, **fields: object) -> Translation:
    body = ImageBody.model_validate({"prompt": "a fox", **fields})
    return await translate(ParsedBody(body=body), studio)


@pytest.mark.parametrize(
    ("quality", "preset"),
    [("low", "draft"), ("medium", "standard"), ("high", "best"), ("standard", "standard"), ("hd", "best")],
)
async def test_a_quality_of_openai_is_a_preset_of_the_model(
    studio: Studio, quality: str, preset: str
) -> None:
    assert (await translated(studio, quality=quality)).request.quality == preset


@pytest.mark.parametrize(
    ("style", "saved", "changes"),
    [("vivid", "cinematic", 1), ("natural", "photo", 1), ("watercolor", "watercolor", 0)],
)
async def test_a_style_of_openai_is_a_saved_style_and_others_are_as_they_are(
    studio: Studio, style: str, saved: str, changes: int
) -> None:
    found = await translated(studio, style=style)
    assert found.request.style == saved
    assert len(found.changes) == changes


@pytest.mark.parametrize("model", [None, "", "dall-e-3", "gpt-image-1", "chatgpt-image-latest"])
async def test_the_models_of_openai_stand_for_the_loaded_one(studio: Studio, model: str | None) -> None:
    assert (await translated(studio, model=model, n=3)).count == 3


async def test_the_loaded_model_is_known_by_its_names_only(studio: Studio) -> None:
    name = (await studio.model()).name
    assert (await translated(studio, model=name)).changes == ()
    with pytest.raises(UnknownModel, match="is not loaded"):
        await translated(studio, model="sora-2")


async def test_a_size_that_the_model_lacks_becomes_its_nearest_shape_only_if_it_is_one_of_openai(
    studio: Studio, omni: "OmniServer"
) -> None:
    omni.runs("Qwen/Qwen-Image")
    for size in ("1792x1024", "1024x1792", "1536x1024"):
        found = await translated(studio, size=size)
        sides = (found.request.width, found.request.height)
        assert sides == tuple(map(int, size.split("x"))) or found.request.aspect_ratio
        assert bool(found.changes) == (sides == (None, None))
    with pytest.raises(InvalidRequest):
        await translated(studio, size="99999x16")


@pytest.mark.parametrize(
    ("given", "sent"), [(("png", 50), None), ((None, 50), None), (("jpeg", 50), 50), (("webp", 0), 0)]
)
async def test_a_compression_is_used_only_for_formats_that_have_one(
    studio: Studio, given: tuple[str | None, int], sent: int | None
) -> None:
    kind, compression = given
    found = await translated(studio, output_format=kind, output_compression=compression)
    assert found.request.output_compression == sent


@pytest.mark.parametrize("field", [{"stream": True}, {"partial_images": 2}])
async def test_images_are_not_streamed(studio: Studio, field: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="not streamed"):
        await translated(studio, **field)


def png(mode: str, colour: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(file, "PNG")  # type: ignore[arg-type]
    return file.getvalue()


async def test_an_edit_has_its_uploads_and_a_mask_of_what_is_transparent(studio: Studio) -> None:
    uploads = Uploads(images=[png("RGB", "teal")], mask=png("RGBA", (0, 0, 0, 0)))
    found = await translate(ParsedBody(body=ImageBody(prompt="night"), uploads=uploads), studio)
    assert isinstance(found.request, EditRequest)
    assert found.request.images == [uploads.images[0]]
    assert found.request.mask is not None
    broken = Uploads(images=uploads.images, mask=b"no image")
    with pytest.raises(InvalidRequest) as raised:
        await translate(ParsedBody(body=ImageBody(prompt="night"), uploads=broken), studio)
    assert raised.value.parameter == "mask"
