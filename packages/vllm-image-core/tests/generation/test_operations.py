"""Edits: sent once, saved with what they were made from, and found again."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edit_server import KLEIN, Server, png, recipe_of
from vllm_image_core.batches.items import Done
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio

QWEN = "Qwen/Qwen-Image"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def studio(server: Server, tmp_path: Path) -> Studio:
    return Studio(server, output_dir=tmp_path / "out", now=lambda: NOON, draw_seed=lambda: 42)


async def test_an_edit_is_sent_with_its_images_and_saved(studio: Studio, server: Server) -> None:
    image = await studio.edit(
        "make it night", [png()], mask=png(colour="#ff0000"), reference_image=png(colour="#00ff00")
    )

    [(request, images, mask, reference)] = server.edits
    assert (request.prompt, request.size, request.seed, request.model) == (
        "make it night",
        "128x96",
        42,
        KLEIN,
    )
    assert images == (png(),)
    assert (mask, reference) == (png(colour="#ff0000"), png(colour="#00ff00"))
    assert image.path.read_bytes() == image.picture.bytes
    assert not image.reused


async def test_a_generated_image_can_be_edited_directly(studio: Studio, server: Server) -> None:
    first = await studio.generate("a red fox", width=64, height=64, filename="fox")
    edited = await studio.edit("make it night", first)
    assert server.edits[0][1] == (first.picture.bytes,)
    assert recipe_of(edited)["inputs"] == [
        {
            "role": "image",
            "sha256": hashlib.sha256(first.path.read_bytes()).hexdigest(),
            "size": "64x64",
            "name": "fox.png",
        }
    ]


async def test_the_file_names_its_inputs_but_no_folder(studio: Studio, tmp_path: Path) -> None:
    private = tmp_path / "private" / "of me"
    private.mkdir(parents=True)
    (private / "holiday.png").write_bytes(png())
    image = await studio.edit("make it night", private / "holiday.png", strength=0.5, mask=png())

    recipe = recipe_of(image)
    assert (recipe["operation"], recipe["strength"]) == ("edit", 0.5)
    assert b"holiday.png" in image.picture.bytes
    assert b"private" not in image.picture.bytes
    assert b"of me" not in image.picture.bytes
    assert xmp.read(read_text(image.picture.bytes)[xmp.KEYWORD]).source == (
        "compositeWithTrainedAlgorithmicMedia"
    )


async def test_simulated_images_stay_algorithmic_when_edited(server: Server, tmp_path: Path) -> None:
    studio = Studio(server, output_dir=tmp_path, metadata=Metadata(source="algorithmicMedia"))
    image = await studio.edit("make it night", png())
    assert xmp.read(read_text(image.picture.bytes)[xmp.KEYWORD]).source == "algorithmicMedia"


async def test_the_receipt_lists_input_images_size_and_dropped_parameters(studio: Studio) -> None:
    image = await studio.edit("make it night", png(), strength=0.5, mask=None)
    lines = {line.parameter: line for line in image.receipt.lines}
    assert lines["images"].sent == "an image (128x96 PNG)"
    assert (lines["width"].confirmed, lines["width"].why) == (128, "the size of the input image")
    assert lines["strength"].outcome == "dropped"
    assert any("strength was dropped" in note for note in image.notes)


async def test_the_same_edit_with_the_same_seed_runs_once(studio: Studio, server: Server) -> None:
    first = await studio.edit("make it night", png(), seed=7)
    again = await studio.edit("make it night", png(), seed=7)
    assert (again.path, again.reused, len(server.edits)) == (first.path, True, 1)
    assert (await studio.edit("make it night", png(), seed=7, fresh=True)).path != first.path


@pytest.mark.parametrize(
    "change",
    [
        {"images": png(colour="#336698")},
        {"images": [png(), png()]},
        {"mask": png()},
        {"reference_image": png()},
        {"mask": png(), "strength": 0.5},
        {"prompt": "make it day"},
    ],
)
async def test_another_image_mask_or_strength_is_another_edit(
    studio: Studio, server: Server, change: dict[str, object]
) -> None:
    asked = EditRequest(prompt="make it night", images=png(), seed=7)
    await studio.make(asked)
    await studio.make(replace(asked, **change))  # type: ignore[arg-type]  # by name
    assert len(server.edits) == 2


async def test_an_edit_and_a_generation_with_the_same_prompt_are_different(
    studio: Studio, server: Server
) -> None:
    made = await studio.generate("make it night", width=128, height=96, seed=7)
    edited = await studio.edit("make it night", png(), seed=7)
    assert made.path != edited.path
    assert not edited.reused


async def test_the_same_images_in_another_role_are_another_edit(studio: Studio, server: Server) -> None:
    await studio.edit("x", [png(), png(colour="#ff0000")], seed=1)
    await studio.edit("x", png(), mask=png(colour="#ff0000"), seed=1)
    await studio.edit("x", png(), reference_image=png(colour="#ff0000"), seed=1)
    assert len(server.edits) == 3


async def test_a_file_that_changes_after_the_check_is_sent_as_it_was_checked(
    studio: Studio, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "fox.png"
    source.write_bytes(png())
    job = await studio._generator.check(EditRequest(prompt="x", images=source, seed=1))
    source.write_bytes(b"something else")
    image = await studio._generator.generate(job)
    assert server.edits[0][1] == (png(),)
    assert hashlib.sha256(png()).hexdigest() in json.dumps(recipe_of(image))


async def test_a_model_that_cannot_edit_is_reported_before_an_image_is_read(tmp_path: Path) -> None:
    server = Server(model=QWEN)
    with pytest.raises(InvalidRequest, match="does not edit images") as caught:
        await Studio(server, output_dir=tmp_path).edit("make it night", tmp_path / "not there.png")
    assert KLEIN in caught.value.message
    assert not server.edits


async def test_a_server_that_switches_to_a_model_that_cannot_edit_is_reported(
    studio: Studio, server: Server
) -> None:
    await studio.edit("make it night", png())
    server.model = QWEN
    with pytest.raises(InvalidRequest, match="does not edit images"):
        await studio.edit("make it day", png())


async def test_a_batch_accepts_edits_next_to_generations(studio: Studio, server: Server) -> None:
    requests = [ImageRequest(prompt="a fox"), EditRequest(prompt="make it night", images=png(), seed=3)]
    async with await studio.batch(requests) as batch:
        outcomes = [outcome async for outcome in batch]
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert [request.prompt for request, *_ in server.edits] == ["make it night"]


async def test_an_image_over_the_size_limit_is_reduced_and_reported(studio: Studio) -> None:
    image = await studio.edit("make it night", png((4000, 3000)))
    assert image.request.size.pixels <= 4_000_000
    assert any("4000x3000" in note and "4 megapixels" in note for note in image.notes)


async def test_an_edit_is_estimated_without_running_it(
    studio: Studio, server: Server, tmp_path: Path
) -> None:
    expected = await studio.estimate_edit(EditRequest(prompt="make it night", images=png()))
    assert (str(expected.size), server.edits) == ("128x96", [])
    assert expected.total_seconds > 0
    server.model = QWEN
    with pytest.raises(InvalidRequest, match="does not edit images"):
        await studio.estimate_edit(EditRequest(prompt="make it night", images=tmp_path / "not there.png"))
