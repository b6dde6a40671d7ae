"""The input images of an edit, found again in its folder or not at all."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edit_server import Server, png, recipe_of
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio

NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def studio(server: Server, tmp_path: Path) -> Studio:
    return Studio(server, output_dir=tmp_path / "out", now=lambda: NOON, draw_seed=lambda: 42)


async def test_an_edit_is_recalled_with_its_images_from_the_folder(studio: Studio, server: Server) -> None:
    fox = await studio.generate("a red fox", width=128, height=96, seed=1, filename="fox")
    edited = await studio.edit("make it night", fox, seed=2)

    recalled = await studio.recall(edited.path)
    assert isinstance(recalled.request, EditRequest)
    assert [(one.role, one.name) for one in recalled.inputs] == [("image", "fox.png")]
    assert (await studio.make(recalled.request)).path == edited.path
    anew = await studio.make(replace(recalled.request, prompt="make it day"))
    assert server.edits[-1][1] == (fox.picture.bytes,)
    assert recipe_of(anew)["prompt"] == "make it day"


async def test_an_image_that_is_gone_or_has_changed_has_to_be_given_again(studio: Studio) -> None:
    fox = await studio.generate("a red fox", width=128, height=96, seed=1, filename="fox")
    edited = await studio.edit("make it night", fox, seed=2)
    fox.path.unlink()
    fox.path.write_bytes(png())

    recalled = await studio.recall(edited.path)
    assert isinstance(recalled.request, EditRequest)
    assert recalled.request.images == ()
    assert "edited from image fox.png" in recalled.notes[-1]
    with pytest.raises(InvalidRequest, match="takes 1 to 4 input images"):
        await studio.make(recalled.request)
    again = await studio.make(replace(recalled.request, images=fox))
    assert again.path == edited.path


async def test_a_found_edit_is_an_edit_with_its_images_or_no_request(studio: Studio, server: Server) -> None:
    fox = await studio.generate("a red fox", width=128, height=96, seed=1, filename="fox")
    edited = await studio.edit("make it night", fox, mask=fox, strength=0.5, seed=2, tag="dark")
    [made] = (await studio.find(seed=1)).pictures
    [found] = (await studio.find(seed=2)).pictures
    assert (made.operation, type(made.as_request())) == (None, ImageRequest)
    request = found.as_request()
    assert isinstance(request, EditRequest)
    assert (request.prompt, request.seed, request.strength, request.tag) == ("make it night", 2, 0.5, "dark")
    assert (await studio.make(request)).path == edited.path
    assert len(server.edits) == 1

    fox.path.unlink()
    assert found.as_request() is None


async def test_an_edit_from_elsewhere_is_found_with_the_copies_of_its_batch(
    studio: Studio, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "holiday.png").write_bytes(png())
    async with await studio.batch(
        [EditRequest(prompt="make it night", images=tmp_path / "holiday.png", seed=2)]
    ) as batch:
        await batch.wait()
    [found] = (await studio.find(batch=batch.id)).pictures
    request = found.as_request()
    assert isinstance(request, EditRequest)
    await studio.make(replace(request, prompt="make it day"))
    assert [images for _, images, *_ in server.edits] == [(png(),), (png(),)]


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "link.png", "..", ".", "", "a\0b", "x" * 4000, "sub/fox.png", 7]
)
async def test_hostile_input_names_in_a_file_lead_nowhere(
    studio: Studio, tmp_path: Path, name: object
) -> None:
    edited = await studio.edit("x", png(), seed=2)
    (tmp_path / "secret.png").write_bytes(png())
    (studio.output_dir / "link.png").symlink_to(tmp_path / "secret.png")
    (studio.output_dir / "sub").mkdir()
    (studio.output_dir / "sub" / "fox.png").write_bytes(png())

    told = {"role": "image", "sha256": hashlib.sha256(png()).hexdigest(), "name": name}
    recalled = await studio.recall(with_facts(edited, inputs=[told]))

    assert isinstance(recalled.request, EditRequest)
    assert recalled.request.images == ()


def with_facts(image: GeneratedImage, **facts: object) -> bytes:
    """The image's file as somebody else may have written it."""
    return write_text(image.picture, {"vllm-image": json.dumps({**recipe_of(image), **facts})}).bytes


HOSTILE: list[dict[str, object]] = [
    {"inputs": "x" * 100_000, "strength": "nan", "layers": 10**30, "resolution": []},
    {"inputs": [{"role": "image"}] * 10_000, "strength": -1, "layers": True, "resolution": {"a": 1}},
    {"inputs": [{"role": "x", "sha256": "0" * 64}, None, 7, [], {"role": "mask", "sha256": "0" * 65}]},
    {"inputs": [{"role": ["image"], "sha256": "0" * 64}], "strength": float("nan")},
    {"inputs": {"role": "image"}, "operation": "edit", "resolution": 10**400},
]


@pytest.mark.parametrize("facts", HOSTILE)
async def test_hostile_facts_of_an_edit_are_dropped_and_reported(
    studio: Studio, facts: dict[str, object]
) -> None:
    edited = await studio.edit("x", png(), seed=2)
    recalled = await studio.recall(with_facts(edited, **facts))
    assert isinstance(recalled.request, EditRequest)
    assert recalled.inputs == ()
    assert recalled.request.prompt == "x"
    assert (recalled.request.strength, recalled.request.layers, recalled.request.resolution) == (None,) * 3


def test_an_image_that_was_not_edited_has_no_inputs() -> None:
    recalled = recall(
        write_text(Picture.check(png()), {"vllm-image": '{"prompt": "a fox", "inputs": [1]}'}).bytes
    )
    assert (type(recalled.request), recalled.inputs) == (ImageRequest, ())
