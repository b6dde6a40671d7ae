"""Edits through the studio: sent once, saved with what they were made from, and found again."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.batches.worker_pool import Done
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.picture import Picture, read_text, write_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadRequest
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
LAYERED = "Qwen/Qwen-Image-Layered"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


def png(size: tuple[int, int] = (128, 96), colour: str = "#336699") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@dataclass
class Server:
    """A backend in this process that edits by answering with a colour that follows from the seed."""

    model: str = KLEIN
    pictures: int = 1
    edits: list[tuple[ImageEditRequest, tuple[bytes, ...], bytes | None, bytes | None]] = field(
        default_factory=list[tuple[ImageEditRequest, tuple[bytes, ...], bytes | None, bytes | None]]
    )
    base_url: str = "http://gpu:6655"

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        return self._reply(request.size, request.seed)

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        if request.model != self.model:
            raise BadRequest("Model mismatch", status=400)
        self.edits.append((request, tuple(image), mask_image, reference_image))
        return self._reply(request.size, request.seed)

    def _reply(self, size: str | None, seed: int | None) -> ImageGenerationReply:
        width, height = map(int, (size or "736x544").split("x"))
        colours = [f"#{((seed or 0) * 7 + place) % 2**24:06x}" for place in range(self.pictures)]
        data = [{"b64_json": base64.b64encode(png((width, height), colour)).decode()} for colour in colours]
        return ImageGenerationReply.model_validate({"data": data})

    async def get_models(self) -> ModelList:
        return ModelList.model_validate({"data": [{"id": self.model, "root": self.model}]})

    async def health_check(self) -> bool:
        return True

    async def get_version(self) -> str:
        return "0.30.0"

    async def get_metrics(self) -> ServerMetrics:
        return ServerMetrics()

    async def aclose(self) -> None:
        pass


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def studio(server: Server, tmp_path: Path) -> Studio:
    return Studio(server, output_dir=tmp_path / "out", now=lambda: NOON, draw_seed=lambda: 42)


def recipe_of(image: GeneratedImage) -> dict[str, object]:
    return json.loads(read_text(image.path.read_bytes())["vllm-image"])


async def test_an_edit_is_sent_with_its_pictures_and_saved(studio: Studio, server: Server) -> None:
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


async def test_a_picture_just_made_is_edited_by_itself(studio: Studio, server: Server) -> None:
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


async def test_the_file_tells_what_it_was_made_of_and_no_folder(studio: Studio, tmp_path: Path) -> None:
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


async def test_what_a_procedure_drew_stays_algorithmic_when_edited(server: Server, tmp_path: Path) -> None:
    studio = Studio(server, output_dir=tmp_path, metadata=Metadata(source="algorithmicMedia"))
    image = await studio.edit("make it night", png())
    assert xmp.read(read_text(image.picture.bytes)[xmp.KEYWORD]).source == "algorithmicMedia"


async def test_the_receipt_tells_pictures_size_and_what_was_dropped(studio: Studio) -> None:
    image = await studio.edit("make it night", png(), strength=0.5, mask=None)
    lines = {line.parameter: line for line in image.receipt.lines}
    assert lines["images"].sent == "an image (128x96 PNG)"
    assert (lines["width"].confirmed, lines["width"].why) == (128, "the size of the input image")
    assert lines["strength"].outcome == "dropped"
    assert any("strength was dropped" in note for note in image.notes)


# The same again


async def test_the_same_edit_with_the_same_seed_is_made_once(studio: Studio, server: Server) -> None:
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
async def test_another_picture_mask_or_strength_is_another_edit(
    studio: Studio, server: Server, change: dict[str, object]
) -> None:
    asked = EditRequest(prompt="make it night", images=png(), seed=7)
    await studio.make(asked)
    await studio.make(replace(asked, **change))  # type: ignore[arg-type]  # by name
    assert len(server.edits) == 2


async def test_an_edit_and_a_generation_of_the_same_words_are_two(studio: Studio, server: Server) -> None:
    made = await studio.generate("make it night", width=128, height=96, seed=7)
    edited = await studio.edit("make it night", png(), seed=7)
    assert made.path != edited.path
    assert not edited.reused


async def test_the_same_pictures_in_another_role_are_another_edit(studio: Studio, server: Server) -> None:
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


# Recall


async def test_an_edit_is_recalled_with_its_pictures_from_the_folder(studio: Studio, server: Server) -> None:
    fox = await studio.generate("a red fox", width=128, height=96, seed=1, filename="fox")
    edited = await studio.edit("make it night", fox, seed=2)

    recalled = await studio.recall(edited.path)
    assert isinstance(recalled.request, EditRequest)
    assert [(one.role, one.name) for one in recalled.inputs] == [("image", "fox.png")]
    assert (await studio.make(recalled.request)).path == edited.path
    anew = await studio.make(replace(recalled.request, prompt="make it day"))
    assert server.edits[-1][1] == (fox.picture.bytes,)
    assert recipe_of(anew)["prompt"] == "make it day"


async def test_a_picture_that_is_gone_or_changed_has_to_be_given_again(studio: Studio) -> None:
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


async def test_an_edit_that_is_found_is_an_edit_with_its_pictures_or_no_request(
    studio: Studio, server: Server
) -> None:
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
async def test_what_a_file_says_of_its_inputs_leads_nowhere(
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
    """The picture's file as somebody else may have written it."""
    return write_text(image.picture, {"vllm-image": json.dumps({**recipe_of(image), **facts})}).bytes


HOSTILE: list[dict[str, object]] = [
    {"inputs": "x" * 100_000, "strength": "nan", "layers": 10**30, "resolution": []},
    {"inputs": [{"role": "image"}] * 10_000, "strength": -1, "layers": True, "resolution": {"a": 1}},
    {"inputs": [{"role": "x", "sha256": "0" * 64}, None, 7, [], {"role": "mask", "sha256": "0" * 65}]},
    {"inputs": [{"role": ["image"], "sha256": "0" * 64}], "strength": float("nan")},
    {"inputs": {"role": "image"}, "operation": "edit", "resolution": 10**400},
]


@pytest.mark.parametrize("facts", HOSTILE)
async def test_hostile_facts_of_an_edit_are_left_out_and_told(
    studio: Studio, facts: dict[str, object]
) -> None:
    edited = await studio.edit("x", png(), seed=2)
    recalled = await studio.recall(with_facts(edited, **facts))
    assert isinstance(recalled.request, EditRequest)
    assert recalled.inputs == ()
    assert recalled.request.prompt == "x"
    assert (recalled.request.strength, recalled.request.layers, recalled.request.resolution) == (None,) * 3


def test_a_picture_that_was_not_edited_has_no_inputs() -> None:
    recalled = recall(
        write_text(Picture.check(png()), {"vllm-image": '{"prompt": "a fox", "inputs": [1]}'}).bytes
    )
    assert (type(recalled.request), recalled.inputs) == (ImageRequest, ())


# Layers


async def test_every_layer_is_saved_beside_the_first(tmp_path: Path) -> None:
    studio = Studio(Server(model=LAYERED, pictures=3), output_dir=tmp_path, draw_seed=lambda: 42)
    image = await studio.edit("a fox before a house", png(), layers=3, seed=1, filename="fox")

    assert [path.name for path in (image.path, *image.layers)] == [
        "fox.png",
        "fox_layer2.png",
        "fox_layer3.png",
    ]
    assert len({path.read_bytes() for path in (image.path, *image.layers)}) == 3
    facts = json.loads(read_text(image.layers[1].read_bytes())["vllm-image"])
    assert (facts["layer"], facts["layers"], "key" in facts) == (3, 3, False)
    assert not any("instead of" in note for note in image.notes)

    again = await studio.edit("a fox before a house", png(), layers=3, seed=1)
    assert (again.reused, again.path, again.layers) == (True, image.path, image.layers)


async def test_fewer_layers_than_asked_for_are_told_and_a_broken_one_spoils_no_other(tmp_path: Path) -> None:
    class Broken(Server):
        def _reply(self, size: str | None, seed: int | None) -> ImageGenerationReply:
            whole = super()._reply(size, seed)
            second = whole.data[1].model_copy(update={"bytes": b"nothing"})
            return whole.model_copy(update={"data": (whole.data[0], second, whole.data[2])})

    studio = Studio(Broken(model=LAYERED, pictures=3), output_dir=tmp_path)
    image = await studio.edit("a fox", png(), layers=4, filename="fox")
    assert [path.name for path in image.layers] == ["fox_layer3.png"]
    assert any(note.startswith("Layer 2 was not saved: Expected a PNG") for note in image.notes)
    assert "The server sent 3 layers instead of 4." in image.notes


# Who can, and who cannot


async def test_a_model_that_cannot_edit_is_told_before_a_picture_is_read(tmp_path: Path) -> None:
    server = Server(model=QWEN)
    with pytest.raises(InvalidRequest, match="does not edit images") as caught:
        await Studio(server, output_dir=tmp_path).edit("make it night", tmp_path / "not there.png")
    assert KLEIN in caught.value.message
    assert not server.edits


async def test_a_server_that_changes_to_a_model_that_cannot_edit_is_told(
    studio: Studio, server: Server
) -> None:
    await studio.edit("make it night", png())
    server.model = QWEN
    with pytest.raises(InvalidRequest, match="does not edit images"):
        await studio.edit("make it day", png())


async def test_a_batch_takes_edits_beside_generations(studio: Studio, server: Server) -> None:
    requests = [ImageRequest(prompt="a fox"), EditRequest(prompt="make it night", images=png(), seed=3)]
    async with await studio.batch(requests) as batch:
        outcomes = [outcome async for outcome in batch]
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert [request.prompt for request, *_ in server.edits] == ["make it night"]


async def test_a_picture_s_own_size_over_the_limit_is_made_smaller_and_told(studio: Studio) -> None:
    image = await studio.edit("make it night", png((4000, 3000)))
    assert image.request.size.pixels <= 4_000_000
    assert any("4000x3000" in note and "4 megapixels" in note for note in image.notes)


async def test_an_edit_is_estimated_without_being_made(
    studio: Studio, server: Server, tmp_path: Path
) -> None:
    expected = await studio.estimate_edit(EditRequest(prompt="make it night", images=png()))
    assert (str(expected.size), server.edits) == ("128x96", [])
    assert expected.total_seconds > 0
    server.model = QWEN
    with pytest.raises(InvalidRequest, match="does not edit images"):
        await studio.estimate_edit(EditRequest(prompt="make it night", images=tmp_path / "not there.png"))
