"""One request, from its check to its file: sent once, saved completely, and found again."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from drawing_server import KLEIN, QWEN, Server, encoded, png, studio_of
from vllm_image_core.batches.items import Done
from vllm_image_core.errors import CannotSave, InvalidRequest, NotEnoughSpace
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import BadReply, OutOfGpuMemory
from vllm_omni_client.models import ImageGenerationRequest


async def test_a_prompt_becomes_an_image_on_disk_with_the_settings_of_the_model(tmp_path: Path) -> None:
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


async def test_an_image_comes_with_its_receipt(tmp_path: Path) -> None:
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


async def test_a_quality_applies_the_preset_of_the_profile(tmp_path: Path) -> None:
    server = Server(QWEN)
    image = await studio_of(server, tmp_path).generate("a red fox", quality="draft", width=64, height=64)
    assert server.requests[0].num_inference_steps == 20
    assert image.request.quality == "draft"


async def test_a_seed_drawn_by_a_batch_is_reported_as_drawn(tmp_path: Path) -> None:
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


async def test_an_invalid_request_is_refused_before_it_is_sent(tmp_path: Path) -> None:
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


async def test_an_unwritable_folder_is_detected_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    server = Server()
    with pytest.raises(CannotSave):
        await studio_of(server, tmp_path / "file").generate("a red fox")
    assert server.requests == []


async def test_an_error_names_the_requested_size_and_steps(tmp_path: Path) -> None:
    def burst(_: ImageGenerationRequest) -> bytes:
        raise OutOfGpuMemory("CUDA out of memory", status=500)

    with pytest.raises(OutOfGpuMemory) as caught:
        await studio_of(Server(draw=burst), tmp_path).generate("a red fox", width=2000, height=1600)
    assert caught.value.__notes__ == ["Requested: 2000x1600, 4 steps, seed 42."]


async def test_a_cancelled_image_that_has_arrived_is_saved_completely(
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


async def test_the_same_request_with_the_same_seed_is_generated_once(tmp_path: Path) -> None:
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
async def test_another_request_is_another_image(tmp_path: Path, other: dict[str, object]) -> None:
    server, request = Server(), {"prompt": "a red fox", "width": 64, "height": 64, "seed": 7}
    studio = studio_of(server, tmp_path)
    await studio.generate(**request)  # type: ignore[arg-type]  # by name
    image = await studio.generate(**{**request, **other})  # type: ignore[arg-type]  # by name
    assert not image.reused
    assert len(server.requests) == 2


async def test_fresh_generates_the_image_again_under_another_name(tmp_path: Path) -> None:
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
async def test_an_image_has_the_requested_format_and_differs_from_the_png(
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
async def test_a_lost_index_is_rebuilt_from_files_of_every_format(tmp_path: Path, kind: str) -> None:
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


async def test_a_file_damaged_in_the_meantime_is_generated_again(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    first = await studio.generate("a red fox", width=64, height=64, seed=7)
    first.path.write_bytes(first.picture.bytes[:-1])
    second = await studio.generate("a red fox", width=64, height=64, seed=7)
    assert (second.reused, second.path == first.path) == (False, False)


async def test_another_version_of_the_server_generates_another_image(tmp_path: Path) -> None:
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


async def test_an_invalid_tag_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(InvalidRequest):
        await studio_of(server, tmp_path).generate("a red fox", tag="\n")
    assert server.requests == []


async def test_an_image_that_the_folder_refuses_is_in_the_spill_folder(tmp_path: Path) -> None:
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


async def test_a_full_disk_costs_no_gpu_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
