import asyncio
import base64
import io
import json
import logging
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from vllm_image_core.batches.worker_pool import Done
from vllm_image_core.errors import BadPicture, CannotSave, InvalidRequest, NotEnoughSpace, UnknownBatch
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.estimation.work import Work
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.content_hash import content_key
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import BadReply, BadRequest, OutOfGpuMemory, ServerUnreachable
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest, ModelList

KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


def png(request: ImageGenerationRequest) -> bytes:
    """A picture of the size that was asked for, in a colour that follows from the seed."""
    width, height = map(int, (request.size or "64x64").split("x"))
    file = io.BytesIO()
    Image.new("RGB", (width, height), f"#{(request.seed or 0) % 2**24:06x}").save(file, "PNG")
    return file.getvalue()


def encoded(kind: str) -> bytes:
    """A picture of 64x64 that is not one colour all over."""
    file = io.BytesIO()
    Image.radial_gradient("L").crop((32, 32, 96, 96)).convert("RGB").save(file, kind)
    return file.getvalue()


@dataclass
class Server:
    """A backend in this process: it answers at once unless it is told otherwise."""

    model: str = KLEIN
    draw: Callable[[ImageGenerationRequest], bytes] = png
    requests: list[ImageGenerationRequest] = field(default_factory=list[ImageGenerationRequest])
    gate: asyncio.Event | None = None
    base_url: str = "http://gpu:6655"
    closed: bool = False

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        self.requests.append(request)
        if request.model != self.model:
            raise BadRequest("Model mismatch", status=400)
        if self.gate:
            await self.gate.wait()
        return ImageGenerationReply.model_validate(
            {"data": [{"b64_json": base64.b64encode(self.draw(request)).decode()}]}
        )

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        raise NotImplementedError

    async def get_models(self) -> ModelList:
        return ModelList.model_validate({"data": [{"id": self.model, "root": self.model}]})

    async def health_check(self) -> bool:
        return True

    async def get_version(self) -> str:
        return "0.30.0"

    async def get_metrics(self) -> ServerMetrics:
        return ServerMetrics(peak_memory_mb=14_321.0)

    async def aclose(self) -> None:
        self.closed = True


class DownServer(Server):
    """A backend that nobody reaches."""

    async def get_models(self) -> ModelList:
        raise ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")

    async def health_check(self) -> bool:
        raise ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")


def studio_of(server: Server, folder: Path, **options: object) -> Studio:
    return Studio(server, output_dir=folder, now=lambda: NOON, draw_seed=lambda: 42, **options)  # type: ignore[arg-type]  # a test's options


async def test_a_prompt_becomes_a_picture_on_disk_with_the_models_own_settings(tmp_path: Path) -> None:
    server = Server()

    image = await studio_of(server, tmp_path).generate("a red fox")

    assert server.requests == [
        ImageGenerationRequest(
            prompt="a red fox",
            model=KLEIN,
            size="1024x1024",
            response_format="b64_json",
            output_format="png",
            num_inference_steps=4,
            guidance_scale=1.0,
            seed=42,
        )
    ]
    assert image.path.parent == tmp_path
    assert image.path.name.startswith("img_20260218_143022_")
    assert image.path.read_bytes() == image.picture.bytes
    assert (image.model, image.seed, image.picture.width) == (KLEIN, 42, 1024)


async def test_a_picture_comes_with_its_receipt(tmp_path: Path) -> None:
    image = await studio_of(Server(), tmp_path).generate(
        "a red fox", width=64, height=64, num_inference_steps=2
    )
    lines = {line.parameter: line for line in image.receipt.lines}
    assert [(line.parameter, line.sent) for line in image.receipt.notable_lines] == [("seed", 42)]
    assert (lines["width"].confirmed, lines["height"].confirmed, lines["output_format"].confirmed) == (
        64,
        64,
        "png",
    )
    assert "num_inference_steps  2          2          -" in str(image.receipt)


async def test_a_picture_that_is_not_as_it_was_asked_for_is_told(tmp_path: Path) -> None:
    def smaller_jpeg(_: ImageGenerationRequest) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (48, 64)).save(file, "JPEG")
        return file.getvalue()

    image = await studio_of(Server(draw=smaller_jpeg), tmp_path).generate("a red fox", width=64, height=64)
    assert [(line.parameter, line.sent, line.confirmed) for line in image.receipt.notable_lines] == [
        ("width", 64, 48),
        ("seed", 42, None),
        ("output_format", "png", "jpeg"),
    ]
    assert image.notes[:2] == (
        "The server sent 48x64 instead of 64x64.",
        "The server sent JPEG instead of PNG.",
    )


async def test_a_quality_is_what_the_model_s_profile_has_for_it(tmp_path: Path) -> None:
    server = Server(QWEN)
    image = await studio_of(server, tmp_path).generate("a red fox", quality="draft", width=64, height=64)
    assert server.requests[0].num_inference_steps == 20
    assert image.request.quality == "draft"


async def test_a_seed_that_a_batch_drew_is_told_as_drawn(tmp_path: Path) -> None:
    batch = await studio_of(Server(), tmp_path).batch(
        [
            ImageRequest(prompt="a fox", width=64, height=64),
            ImageRequest(prompt="a hare", width=64, height=64, seed=7),
        ]
    )
    async with batch:
        async for _ in batch:
            pass
    told = [[line.parameter for line in batch.images[index].receipt.notable_lines] for index in (0, 1)]
    assert told == [["seed"], []]


async def test_a_model_that_only_edits_is_refused_before_anything_is_sent_but_can_be_estimated(
    tmp_path: Path,
) -> None:
    server = Server("Qwen/Qwen-Image-Edit")
    studio = studio_of(server, tmp_path)
    with pytest.raises(InvalidRequest, match="edits images; it does not generate them from text alone"):
        await studio.generate("a red fox")
    assert server.requests == []
    assert (await studio.estimate()).seconds_per_image > 0


async def test_a_request_can_be_checked_without_sending_it(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    await studio.check(ImageRequest(prompt="a fox"))
    with pytest.raises(InvalidRequest, match="Nearest valid width is 1008"):
        await studio.check(ImageRequest(prompt="a fox", width=1000))
    assert server.requests == []


async def test_the_file_tells_how_it_was_made(tmp_path: Path) -> None:
    studio = studio_of(Server(QWEN), tmp_path, timer=lambda: 0.0)
    image = await studio.generate("a red fox", width=64, height=64, tag="animals")

    texts = read_text(image.path.read_bytes())

    assert json.loads(texts["vllm-image"]) == {
        "model": QWEN,
        "profile": QWEN,
        "prompt": "a red fox",
        "negative_prompt": " ",
        "width": 64,
        "height": 64,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "guidance_field": "true_cfg_scale",
        "seed": 42,
        "created": "2026-02-18T14:30:22+00:00",
        "key": content_key(image.request, model=QWEN, server_version="0.30.0"),
        "server_version": "0.30.0",
        "seconds": 0.0,
        "tag": "animals",
        "receipt": image.receipt.compact(),
    }
    assert texts["parameters"].endswith(
        "Steps: 50, CFG scale: 5.0, Seed: 42, Size: 64x64, Model: Qwen/Qwen-Image"
    )


@pytest.mark.parametrize("model", [KLEIN, QWEN])
async def test_a_receipt_in_the_file_tells_no_prompt_that_is_kept_back(tmp_path: Path, model: str) -> None:
    studio = studio_of(Server(model), tmp_path, metadata=Metadata(prompts=False))
    image = await studio.generate("my secret fox", negative_prompt="my secret hare", width=64, height=64)
    recipe = json.loads(read_text(image.path.read_bytes())["vllm-image"])
    assert recipe["receipt"]["width"] == {"requested": 64, "sent": 64, "confirmed": 64, "outcome": "as asked"}
    assert b"secret" not in image.path.read_bytes()


async def test_prompts_that_a_jpeg_has_no_room_for_are_told(tmp_path: Path) -> None:
    studio = studio_of(Server(QWEN, draw=lambda _: encoded("jpeg")), tmp_path)
    images = [
        await studio.generate("狐" * length, negative_prompt="猫" * length, width=64, height=64)
        for length in (10, 20_000)
    ]
    assert ["exceed the 64 KiB a JPEG can hold" in " ".join(image.notes) for image in images] == [False, True]


async def test_the_picture_is_not_encoded_again(tmp_path: Path) -> None:
    server = Server()
    image = await studio_of(server, tmp_path).generate("a red fox", width=64, height=64)
    sent = png(server.requests[0])
    assert sent[sent.index(b"IDAT") :] == image.picture.bytes[image.picture.bytes.index(b"IDAT") :]


async def test_a_notebook_shows_the_picture(tmp_path: Path) -> None:
    image = await studio_of(Server(), tmp_path).generate("a red fox", width=64, height=64)
    assert image._repr_png_() == image.path.read_bytes()
    assert image._repr_jpeg_() is None


async def test_a_request_that_does_not_fit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(
        InvalidRequest, match=r"^Width 1000 is not a multiple of 16\. Nearest valid width is 1008\."
    ):
        await studio_of(server, tmp_path).generate("a red fox", width=1000, height=1024)
    assert server.requests == []


async def test_a_bad_filename_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(InvalidRequest):
        await studio_of(server, tmp_path).generate("a red fox", filename="../fox")
    assert server.requests == []


async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    server = Server()
    with pytest.raises(CannotSave):
        await studio_of(server, tmp_path / "file").generate("a red fox")
    assert server.requests == []


async def test_an_unknown_model_is_told_in_the_log_and_with_the_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warning = (
        "Model 'acme/painter' is not in the known profiles. "
        "Using fallback defaults (steps=28, guidance=5.0). "
        "Generation may produce unexpected results."
    )
    studio = studio_of(Server("acme/painter"), tmp_path)
    with caplog.at_level(logging.WARNING):
        images = [await studio.generate("a red fox", width=64, height=64) for _ in range(2)]
    assert [warning in image.notes for image in images] == [True, True]
    assert [record.message for record in caplog.records] == [warning]


async def test_a_server_restarted_with_another_model_gets_that_models_settings(tmp_path: Path) -> None:
    server = Server(KLEIN)
    studio = studio_of(server, tmp_path)
    await studio.generate("a red fox", width=64, height=64)
    server.model = QWEN

    image = await studio.generate("a red fox", width=64, height=64, seed=7)

    assert image.model == QWEN
    assert [(sent.model, sent.num_inference_steps, sent.seed) for sent in server.requests] == [
        (KLEIN, 4, 42),
        (KLEIN, 4, 7),
        (QWEN, 50, 7),
    ]


async def test_what_the_server_refuses_twice_is_an_error(tmp_path: Path) -> None:
    def refuse(_: ImageGenerationRequest) -> bytes:
        raise BadRequest("Requested image size exceeds the maximum", status=400)

    server = Server(draw=refuse)
    with pytest.raises(BadRequest):
        await studio_of(server, tmp_path).generate("a red fox")
    assert len(server.requests) == 1


async def test_an_error_names_the_size_and_steps_that_were_asked_for(tmp_path: Path) -> None:
    def burst(_: ImageGenerationRequest) -> bytes:
        raise OutOfGpuMemory("CUDA out of memory", status=500)

    with pytest.raises(OutOfGpuMemory) as caught:
        await studio_of(Server(draw=burst), tmp_path).generate("a red fox", width=2000, height=1600)
    assert caught.value.__notes__ == ["Asked for: 2000x1600, 4 steps, seed 42."]


async def test_bytes_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPicture):
        await studio_of(Server(draw=lambda _: b"<html>"), tmp_path).generate("a red fox")
    assert list(tmp_path.iterdir()) == []


async def test_a_picture_of_another_size_is_kept_and_told(tmp_path: Path) -> None:
    smaller = Server(draw=lambda request: png(request.model_copy(update={"size": "48x64"})))
    image = await studio_of(smaller, tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 48x64 instead of 64x64." in image.notes
    assert image.path.exists()


async def test_h15_a_jpeg_where_a_png_was_asked_for_is_kept_under_its_own_extension(tmp_path: Path) -> None:
    image = await studio_of(Server(draw=lambda request: encoded("jpeg")), tmp_path).generate(
        "a red fox", width=64, height=64
    )
    assert (image.picture.format, image.path.suffix) == ("jpeg", ".jpg")
    assert "The server sent JPEG instead of PNG." in image.notes
    assert "Seed: 42" in read_text(image.path.read_bytes())["parameters"]


def cut(data: bytes) -> bytes:
    return data[:-5]


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def turned(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def endless(data: bytes) -> bytes:
    return data[:-12]


@pytest.mark.parametrize("damage", [cut, halved, turned, endless])
async def test_h16_a_damaged_png_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    server = Server(draw=lambda request: damage(encoded("png")))
    with pytest.raises(BadPicture):
        await studio_of(server, tmp_path).generate("a red fox", width=64, height=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(13_000, 13_000), (20_000, 20_000), (1, 2**31 - 1), (2100, 2100)])
async def test_h17_a_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    small = encoded("png")
    header = b"IHDR" + struct.pack(">II", *size) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(BadPicture, match=f"its size as {size[0]}x{size[1]}"):
        await studio_of(Server(draw=lambda _: bomb), tmp_path).generate("a red fox", width=64, height=64)


async def test_h18_a_larger_picture_than_asked_for_is_kept_and_told(tmp_path: Path) -> None:
    larger = Server(draw=lambda request: png(request.model_copy(update={"size": "1024x1024"})))
    image = await studio_of(larger, tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 1024x1024 instead of 64x64." in image.notes


async def test_h19_of_several_pictures_the_first_is_kept_and_the_rest_told(tmp_path: Path) -> None:
    class Generous(Server):
        async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
            reply = await super().generate_image(request)
            return reply.model_copy(update={"data": reply.data * 3})

    image = await studio_of(Generous(), tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 3 images instead of 1; the first one was kept." in image.notes
    assert len(list(tmp_path.glob("*.png"))) == 1


async def test_h20_the_same_picture_from_different_seeds_is_told(tmp_path: Path) -> None:
    same = encoded("png")
    studio = studio_of(Server(draw=lambda _: same), tmp_path)
    images = [await studio.generate("a red fox", width=64, height=64, seed=seed) for seed in (1, 1, 2)]
    told = "Seed 2 gave exactly the same image as seed 1: the server may ignore the seed."
    assert [told in image.notes for image in images] == [False, False, True]
    assert not [note for image in images[:2] for note in image.notes if "Seed" in note]


@pytest.mark.parametrize(
    ("colour", "looks"), [("black", "all black"), ("#ffffff", "one flat colour, #ffffff")]
)
async def test_h21_a_picture_of_one_colour_is_told(tmp_path: Path, colour: str, looks: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    image = await studio_of(Server(draw=lambda _: file.getvalue()), tmp_path).generate(
        "a red fox", width=64, height=64
    )
    told = f"The image is {looks}: the model may have failed without an error. Check the server's log."
    assert told in image.notes


async def test_a_usual_picture_raises_no_suspicion(tmp_path: Path) -> None:
    image = await studio_of(Server(draw=lambda _: encoded("png")), tmp_path).generate(
        "a red fox", width=64, height=64
    )
    assert image.notes == ()


async def test_what_files_tell_can_be_switched_off(tmp_path: Path) -> None:
    nothing = Metadata(json=False, parameters=False, xmp=False)
    studio = studio_of(Server(draw=lambda _: encoded("png")), tmp_path, metadata=nothing)
    image = await studio.generate("a red fox", width=64, height=64)
    assert read_text(image.path.read_bytes()) == {}


async def test_a_cancelled_picture_that_has_arrived_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = studio_of(Server(), tmp_path)
    save, entered = studio._library._store.save, asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_save(*args: object, **kwargs: object) -> Path:
        loop.call_soon_threadsafe(entered.set)
        return save(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(studio._library._store, "save", told_save)
    task = asyncio.create_task(studio.generate("a red fox", width=64, height=64))
    async with asyncio.timeout(10):
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(list(tmp_path.glob("img_*.png"))) == 1


async def test_the_same_request_with_the_same_seed_is_made_once(tmp_path: Path) -> None:
    server = Server()
    made = await studio_of(server, tmp_path).generate("a red fox", width=64, height=64, seed=7)
    for studio in (studio_of(server, tmp_path), Studio(server, output_dir=tmp_path)):
        again = await studio.generate("a red fox", width=64, height=64, seed=7, filename="mine")
        assert replace(again, seconds=0.0, notes=(), path=tmp_path) == replace(
            made, seconds=0.0, notes=(), path=tmp_path, reused=True
        )
        assert again.path == tmp_path / "mine.png"
        assert again.path.read_bytes() == made.path.read_bytes()
        assert "taken from the folder" in again.notes[0]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "other", [{"prompt": "a red dog"}, {"width": 80}, {"num_inference_steps": 5}, {"seed": 8}]
)
async def test_another_request_is_another_picture(tmp_path: Path, other: dict[str, object]) -> None:
    server, request = Server(), {"prompt": "a red fox", "width": 64, "height": 64, "seed": 7}
    studio = studio_of(server, tmp_path)
    await studio.generate(**request)  # type: ignore[arg-type]  # by name
    image = await studio.generate(**{**request, **other})  # type: ignore[arg-type]  # by name
    assert not image.reused
    assert len(server.requests) == 2


async def test_fresh_makes_the_picture_anew_under_another_name(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    images = [
        await studio.generate("a red fox", width=64, height=64, seed=7, fresh=fresh)
        for fresh in (False, True, False)
    ]
    assert [image.reused for image in images] == [False, False, True]
    assert images[2].path == images[1].path != images[0].path
    assert len(server.requests) == 2


async def test_a_seed_that_was_drawn_is_never_looked_up(tmp_path: Path) -> None:
    server = Server()
    images = [await studio_of(server, tmp_path).generate("a red fox", width=64, height=64) for _ in range(2)]
    assert [(image.seed, image.reused) for image in images] == [(42, False)] * 2
    batch = await studio_of(server, tmp_path).batch([ImageRequest(prompt="a red fox", width=64, height=64)])
    async with batch:
        [outcome] = [outcome async for outcome in batch]
    assert isinstance(outcome, Done)
    assert not outcome.value.reused


@pytest.mark.parametrize(("kind", "extension"), [("jpeg", "jpg"), ("webp", "webp")])
async def test_a_picture_is_of_the_format_that_was_asked_for_and_another_than_the_png(
    tmp_path: Path, kind: str, extension: str
) -> None:
    server = Server(draw=lambda request: encoded(request.output_format or "png"))
    studio = studio_of(server, tmp_path)
    asked = ImageRequest(prompt="a red fox", seed=7, width=64, height=64)
    await studio.make(asked)
    image = await studio.make(replace(asked, output_format=kind))  # type: ignore[arg-type] -- a Literal
    assert (image.picture.format, image.path.suffix, image.reused) == (kind, f".{extension}", False)
    assert image.notes == ()
    [line] = [line for line in image.receipt.lines if line.parameter == "output_format"]
    assert (line.requested, line.sent, line.confirmed, line.outcome) == (kind, kind, kind, "as asked")
    found = (await studio.find(seed=7, limit=1)).pictures[0].as_request()
    assert found is not None
    assert (await studio.make(replace(found, tag=None))).reused


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_an_index_that_was_lost_is_made_anew_from_files_of_every_format(
    tmp_path: Path, kind: str
) -> None:
    server = Server(draw=lambda request: encoded(request.output_format or "png"))
    asked = ImageRequest(prompt="a red fox", seed=7, width=64, height=64, tag="keep")
    request = replace(asked, output_format=kind)  # type: ignore[arg-type] -- a Literal
    async with studio_of(server, tmp_path) as studio:
        before = await studio.make(request)
    shutil.rmtree(tmp_path / ".vllm-image")
    async with studio_of(server, tmp_path) as studio:
        [found] = (await studio.find("fox")).pictures
        assert (found.path, found.seed, found.tag) == (before.path, 7, "keep")
        assert (await studio.make(request)).reused


async def test_a_file_that_was_damaged_meanwhile_is_made_again(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    first = await studio.generate("a red fox", width=64, height=64, seed=7)
    first.path.write_bytes(first.picture.bytes[:-1])
    second = await studio.generate("a red fox", width=64, height=64, seed=7)
    assert (second.reused, second.path == first.path) == (False, False)


async def test_another_version_of_the_server_makes_another_picture(tmp_path: Path) -> None:
    class Newer(Server):
        async def get_version(self) -> str:
            return "0.31.0"

    class Silent(Server):
        async def get_version(self) -> str:
            raise BadReply("no version")

    reused = [
        (await studio_of(server, tmp_path).generate("a red fox", width=64, height=64, seed=7)).reused
        for server in (Server(), Newer(), Silent(), Silent(), Newer())
    ]
    assert reused == [False, False, False, True, True]


async def test_the_servers_version_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(Server):
        async def get_version(self) -> str:
            asked.append("version")
            return "0.30.0"

    studio = studio_of(Counting(), tmp_path)
    for seed in range(3):
        await studio.generate("a red fox", width=64, height=64, seed=seed)
    assert asked == ["version"]


async def test_i09_equal_requests_of_one_batch_are_one_generation_with_a_reference_each(
    tmp_path: Path,
) -> None:
    server = Server()
    requests = [ImageRequest(prompt="a red fox", width=64, height=64, seed=7)] * 5
    batch = await studio_of(server, tmp_path).batch(requests, max_concurrent=5)
    async with batch:
        outcomes = [outcome async for outcome in batch]
    images = [outcome.value for outcome in outcomes if isinstance(outcome, Done)]
    assert sorted(image.reused for image in images) == [False, True, True, True, True]
    assert len({image.path for image in images}) == 1
    assert len(server.requests) == 1


async def test_a_batch_can_be_made_anew(tmp_path: Path) -> None:
    server, requests = Server(), [ImageRequest(prompt="a red fox", width=64, height=64, seed=7)]
    for fresh in (False, False, True):
        async with await studio_of(server, tmp_path).batch(requests, fresh=fresh) as batch:
            assert [outcome.index async for outcome in batch] == [0]
    assert len(server.requests) == 2


async def test_pictures_are_found_by_words_tag_and_batch(tmp_path: Path) -> None:
    studio = studio_of(Server(), tmp_path)
    fox = await studio.generate("a red fox", width=64, height=64, tag="winter")
    requests = [ImageRequest(prompt="a blue bird", width=64, height=64, tag="winter")]
    async with await studio.batch(requests) as batch:
        [outcome] = [outcome async for outcome in batch]
    assert isinstance(outcome, Done)
    bird = outcome.value

    async def found(**query: str) -> list[Path]:
        return [record.path for record in (await studio.find(**query)).pictures]  # type: ignore[arg-type]  # by name

    assert await found(text="foxes") == [fox.path]
    assert await found(batch=batch.id) == [bird.path]
    assert await found(tag="winter") == [bird.path, fox.path]
    assert await found(text="winter red") == [fox.path]


@pytest.mark.parametrize("limit", [0, "5"])
async def test_a_search_with_a_wrong_limit_is_refused(tmp_path: Path, limit: object) -> None:
    with pytest.raises(InvalidRequest):
        await studio_of(Server(), tmp_path).find(limit=limit)  # type: ignore[arg-type]  # unchecked


async def test_a_tag_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(InvalidRequest):
        await studio_of(server, tmp_path).generate("a red fox", tag="\n")
    assert server.requests == []


async def test_a_picture_that_the_folder_does_not_take_is_in_the_spill_folder(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"

    def unplug(request: ImageGenerationRequest) -> bytes:
        folder.rmdir()
        folder.write_text("in the way")
        return png(request)

    studio = studio_of(Server(draw=unplug), folder, spill_dir=tmp_path / "spill")
    image = await studio.generate("a red fox", width=64, height=64)
    assert image.spilled
    assert image.path.parent == tmp_path / "spill"
    assert image.path.read_bytes() == image.picture.bytes
    assert "instead of the output folder" in image.notes[0]


async def test_a_disk_that_is_too_full_costs_no_gpu_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1_000_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    server, requests = Server(), [ImageRequest(prompt="a red fox", width=512, height=512)] * 2
    await studio_of(server, tmp_path).make(requests[0])
    with pytest.raises(NotEnoughSpace):
        await studio_of(server, tmp_path).batch(requests)
    with pytest.raises(NotEnoughSpace, match=r"1\.0 MB is free, about 2\.5 MB is needed"):
        await studio_of(server, tmp_path).generate("a red fox")
    assert len(server.requests) == 1
    await studio_of(server, tmp_path, check_space=False).generate("a red fox")


async def test_a_batch_gives_each_request_one_outcome(tmp_path: Path) -> None:
    def sometimes(request: ImageGenerationRequest) -> bytes:
        if request.prompt == "bad":
            raise BadReply("junk")
        return png(request)

    requests = [ImageRequest(prompt=prompt, width=64, height=64) for prompt in ("one", "bad", "three")]
    batch = await studio_of(Server(draw=sometimes), tmp_path).batch(requests, max_concurrent=2)
    async with batch:
        indexes = sorted([outcome.index async for outcome in batch])

    assert indexes == [0, 1, 2]
    assert list(batch.images) == [0, 2]
    assert list(batch.errors) == [1]
    assert (batch.over, batch.cancelled, batch.unfinished_count) == (True, False, 0)
    assert len(list(tmp_path.glob("*.png"))) == 2


async def test_a_batch_with_one_bad_request_sends_nothing(tmp_path: Path) -> None:
    server = Server()
    requests = [ImageRequest(prompt="one"), ImageRequest(prompt="two", width=1000)]
    with pytest.raises(InvalidRequest) as caught:
        await studio_of(server, tmp_path).batch(requests)
    assert caught.value.__notes__ == ["This is entry 1 of the batch, counted from 0; nothing was sent."]
    assert server.requests == []


async def test_an_empty_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        await studio_of(Server(), tmp_path).batch([])


@pytest.mark.parametrize("at_once", [0, -1, True, "2", 2.0])
async def test_a_batch_needs_a_whole_number_of_pictures_at_once(tmp_path: Path, at_once: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await studio_of(Server(), tmp_path).batch([ImageRequest(prompt="one")], max_concurrent=at_once)  # type: ignore[arg-type]  # what a caller may send
    assert caught.value.parameter == "max_concurrent"


@pytest.mark.parametrize(("total_gb", "at_once"), [(None, 1), (16.0, 1), (20.0, 2), (80.0, 4)])
async def test_a_batch_runs_as_many_at_once_as_the_memory_allows(
    tmp_path: Path, total_gb: float | None, at_once: int
) -> None:
    studio = studio_of(Server(), tmp_path, gpu=Gpu(total_vram_gb=total_gb))
    batch = await studio.batch([ImageRequest(prompt="one")])
    assert batch.at_once == at_once


async def test_a_batch_can_be_cancelled_by_its_id_and_keeps_what_is_done(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    batch = await studio.batch(
        [ImageRequest(prompt=f"{number}", width=64, height=64) for number in range(4)], max_concurrent=1
    )
    seen = 0
    async with asyncio.timeout(10), batch:
        async for _ in batch:
            seen += 1
            server.gate = asyncio.Event()
            assert (await studio.cancel_batch(batch.id)).state == "cancelled"
    assert (batch.cancelled, len(batch.images), batch.unfinished_count) == (True, seen, 4 - seen)


async def test_cancelling_a_batch_that_has_ended_changes_nothing(tmp_path: Path) -> None:
    studio = studio_of(Server(), tmp_path)
    batch = await studio.batch([ImageRequest(prompt="one", width=64, height=64)])
    async with batch:
        assert [outcome.index async for outcome in batch] == [0]
    ended = await studio.cancel_batch(batch.id)
    assert (ended.state, ended.done, ended.cancelled) == ("done", 1, 0)
    assert (batch.cancelled, list(batch.images), batch.unfinished_count) == (False, [0], 0)


@pytest.mark.parametrize("name", ["batch_0", "", 7])
async def test_an_unknown_batch_cannot_be_cancelled(tmp_path: Path, name: object) -> None:
    with pytest.raises(UnknownBatch):
        await studio_of(Server(), tmp_path).cancel_batch(name)  # type: ignore[arg-type]  # what a caller may send


async def test_a_batch_that_ended_is_found_by_every_studio_on_the_folder(tmp_path: Path) -> None:
    async with await studio_of(Server(), tmp_path).batch(
        [ImageRequest(prompt=word, width=64, height=64) for word in ("one", "two")]
    ) as batch:
        await batch.wait()
    other = studio_of(Server(), tmp_path)
    found = await other.find_batch(batch.id)
    assert (found.state, found.total, found.done, found.owner) == ("done", 2, 2, None)
    assert [(item.state, item.prompt, item.seed) for item in found.items] == [
        ("done", word, 42) for word in ("one", "two")
    ]
    assert {item.path for item in found.items} == set(tmp_path.glob("*.png"))
    assert [(each.id, each.prompt) for each in await other.batches()] == [(batch.id, "one")]


async def test_an_estimate_needs_a_whole_number_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        await studio_of(Server(), tmp_path).estimate(num_images=0)


class TimedServer(Server):
    """A backend that needs some seconds of a clock that it moves, one picture at a time."""

    def __init__(self, seconds: float, **metrics: int) -> None:
        super().__init__(draw=lambda _: encoded("PNG"))
        self.seconds = seconds
        self.now = 0.0
        self.metrics = ServerMetrics(**metrics)  # type: ignore[arg-type]  # a test's metrics
        self.turn = asyncio.Lock()

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        arrived = self.now
        async with self.turn:
            self.now += self.seconds
            reply = (await super().generate_image(request)).model_dump(mode="json", by_alias=True)
        waited = {"stage_0_gen_ms": 1000 * (self.now - arrived)}
        reply["metrics"] = {"stage_durations": waited, "peak_memory_mb": 20_000.0}
        return ImageGenerationReply.model_validate(reply)

    async def get_metrics(self) -> ServerMetrics:
        return self.metrics

    def studio(self, folder: Path, *, total_gb: float | None = None) -> Studio:
        gpu = Gpu(total_vram_gb=total_gb, source="configured")
        return Studio(self, output_dir=folder, timer=lambda: self.now, gpu=gpu)


async def test_an_estimate_learns_from_the_pictures_that_were_made(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    before = await studio.estimate(width=64, height=64)
    assert before.basis == "nothing measured yet: from the profile, may be off by half"
    for number in range(6):
        await studio.generate(f"fox {number}", width=64, height=64)

    after = await studio.estimate(num_images=10, width=64, height=64)

    assert after.seconds_per_image == pytest.approx(7.0)
    assert after.total_seconds == pytest.approx(70.0)
    assert after.peak_vram_gb == pytest.approx(20_000 * 1024**2 / 1e9)
    assert after.basis == "6 images on this server, off by 1 % on the last 4"


async def test_memory_that_was_measured_decides_how_many_pictures_of_a_batch_are_made_at_once(
    tmp_path: Path,
) -> None:
    server = TimedServer(7.0)  # its pictures peak at 21 GB, a klein's by its profile at 18
    requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(3)]
    for at_once in (4, 1):
        studio = server.studio(tmp_path, total_gb=24.0)
        assert (await studio.gpu()).recommended_concurrent == at_once
        async with await studio.batch(requests) as batch:
            assert batch.at_once == at_once
            assert len([outcome async for outcome in batch]) == 3
    source = (await studio.gpu()).sources["estimated_model_vram_gb"]
    assert source == "measured by the server during 6 images, without the image"


async def test_another_studio_on_the_folder_knows_what_was_measured(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    await server.studio(tmp_path).generate("a fox", width=64, height=64)
    told = await server.studio(tmp_path).estimate(width=64, height=64)
    assert (told.measured, told.seconds_per_image) == (True, pytest.approx(7.0))
    other = TimedServer(7.0)
    other.base_url = "http://other:6655"
    assert not (await other.studio(tmp_path).estimate(width=64, height=64)).measured


async def test_what_pictures_of_a_batch_waited_for_each_other_is_not_learned(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(8)]
    async with await studio.batch(requests, max_concurrent=4) as batch:
        assert len([outcome async for outcome in batch]) == 8
    assert (await studio.estimate(width=64, height=64)).seconds_per_image == pytest.approx(7.0, rel=0.01)


async def test_a_picture_that_was_taken_from_the_folder_is_not_measured(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    for _ in range(3):
        await studio.generate("a fox", width=64, height=64, seed=1)
    assert (await studio.estimate()).basis.startswith("1 image on this server")


async def test_the_servers_queue_is_part_of_the_time_of_completion(tmp_path: Path) -> None:
    server = TimedServer(7.0, requests_running=1, requests_waiting=2)
    studio = server.studio(tmp_path)
    await studio.generate("a fox", width=64, height=64)
    told = await studio.estimate(width=64, height=64)
    assert (told.requests_ahead, told.completion_seconds) == (3, pytest.approx(28.0))


async def test_the_work_of_a_request_is_known_once_the_server_has_told_its_model(tmp_path: Path) -> None:
    studio = studio_of(Server(model=QWEN), tmp_path)
    request = ImageRequest(prompt="a fox", width=512, height=512, num_inference_steps=20)
    assert await studio._loaded.work(request) is None
    await studio.check(request)
    for _ in range(2):
        assert await studio._loaded.work(request) == Work(megapixels=0.262144, forwards=40)
        assert await studio._loaded.work(replace(request, guidance_scale=1.0)) == Work(
            megapixels=0.262144, forwards=20
        )


async def test_an_estimate_makes_no_folder(tmp_path: Path) -> None:
    studio = TimedServer(7.0).studio(tmp_path / "pictures")
    await studio.estimate()
    assert not (tmp_path / "pictures").exists()


async def test_an_estimate_is_for_the_loaded_model(tmp_path: Path) -> None:
    klein, qwen = studio_of(Server(KLEIN), tmp_path), studio_of(Server(QWEN), tmp_path)
    fast, slow = await klein.estimate(num_images=5), await qwen.estimate(num_images=5)
    assert fast.total_seconds == pytest.approx(5 * fast.seconds_per_image)
    assert slow.seconds_per_image > 5 * fast.seconds_per_image


async def test_the_gpu_is_reported_with_what_the_server_measured(tmp_path: Path) -> None:
    report = await studio_of(Server(), tmp_path, gpu=Gpu(total_vram_gb=32.0, source="configured")).gpu()
    assert (report.total_vram_gb, report.free_vram_gb, report.peak_memory_mb) == (32.0, 16.0, 14_321.0)


async def test_nothing_is_invented_for_a_server_that_is_down(tmp_path: Path) -> None:
    studio = studio_of(DownServer(), tmp_path)
    report, health = await studio.gpu(), await studio.health()
    assert (report.name, report.total_vram_gb, report.model_vram_gb, report.free_vram_gb) == (None,) * 4
    assert (health.status, health.model, health.version, health.latency_seconds) == (
        "unreachable",
        None,
        None,
        None,
    )


async def test_a_studio_of_several_servers_shares_the_work_out_and_tells_who_made_what(
    tmp_path: Path,
) -> None:
    servers = [Server(base_url=f"http://{name}:6655") for name in ("a", "b")]
    async with Studio(servers, output_dir=tmp_path, now=lambda: NOON) as studio:
        requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(6)]
        async with await studio.batch(requests) as batch:
            made = [outcome.value async for outcome in batch if isinstance(outcome, Done)]
        assert studio.server_url == "http://a:6655, http://b:6655"
        assert [server.done for server in studio.servers] == [len(server.requests) for server in servers]

    assert len(made) == 6
    assert all(server.requests for server in servers)
    for image in made:
        [server] = [server for server in servers if server.base_url == image.server]
        assert image.seed in {request.seed for request in server.requests}
        facts = json.loads(read_text(image.path.read_bytes())["vllm-image"])
        assert (facts["server"], facts["server_version"]) == (image.server, "0.30.0")
    assert all(server.closed for server in servers)


async def test_a_server_is_taken_in_and_another_one_let_go(tmp_path: Path) -> None:
    first, second = Server(base_url="http://a"), Server(base_url="http://b")
    async with Studio(first, output_dir=tmp_path, now=lambda: NOON) as studio:
        studio.add_server(second)
        await studio.remove_server("http://a")
        assert first.closed
        await studio.generate("a red fox", width=64, height=64)
        assert [server.url for server in studio.servers] == ["http://b"]
    assert (len(first.requests), len(second.requests)) == (0, 1)


async def test_a_picture_is_made_by_the_other_server_when_one_is_down(tmp_path: Path) -> None:
    down, up = DownServer(base_url="http://a"), Server(base_url="http://b")
    async with Studio([down, up], output_dir=tmp_path, now=lambda: NOON) as studio:
        image = await studio.generate("a red fox", width=64, height=64)
        health = await studio.health()
    assert image.server == "http://b"
    assert health.status == "healthy"


@pytest.mark.parametrize("servers", [[], [Server(), Server()]])
def test_a_studio_needs_a_server_and_each_of_them_once(tmp_path: Path, servers: list[Server]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Studio(servers, output_dir=tmp_path)
    assert caught.value.parameter == "server"


async def test_leaving_the_studio_closes_the_connection(tmp_path: Path) -> None:
    server = Server()
    async with studio_of(server, tmp_path) as studio:
        assert studio.server_url == "http://gpu:6655"
        assert studio.output_dir == tmp_path
    assert server.closed


async def test_what_was_made_and_what_was_found_is_shown_small(tmp_path: Path) -> None:
    async with studio_of(Server(), tmp_path) as studio:
        image = await studio.generate("a red fox", width=512, height=512)
        small = await studio.preview(image, longest_side=64)
        page = await studio.find()
        sheet = await studio.contact_sheet([image, *page.pictures], longest_side=256)
    assert (small.width, small.height, small.format) == (64, 64, "webp")
    assert sheet.width == 256


@pytest.mark.parametrize("servers", ["http://127.0.0.1:9", ["http://127.0.0.1:9", "http://127.0.0.1:10"]])
async def test_the_key_stands_in_clear_in_no_attribute_of_a_studio(
    tmp_path: Path, servers: str | list[str]
) -> None:
    async with Studio(servers, output_dir=tmp_path, api_key="sk-unseen-4711") as studio:
        assert [name for name, value in vars(studio).items() if "sk-unseen-4711" in repr(value)] == []
