"""Differences from the request, and signs of a model that failed silently."""

import io
from pathlib import Path

import pytest
from drawing_server import QWEN, Server, encoded, png, studio_of
from PIL import Image
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest


async def test_an_image_that_differs_from_its_request_is_reported(tmp_path: Path) -> None:
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


async def test_prompts_too_long_for_a_jpeg_are_reported(tmp_path: Path) -> None:
    studio = studio_of(Server(QWEN, draw=lambda _: encoded("jpeg")), tmp_path)
    images = [
        await studio.generate("狐" * length, negative_prompt="猫" * length, width=64, height=64)
        for length in (10, 20_000)
    ]
    assert ["exceed the 64 KiB a JPEG can hold" in " ".join(image.notes) for image in images] == [False, True]


async def test_an_image_of_another_size_is_kept_and_reported(tmp_path: Path) -> None:
    smaller = Server(draw=lambda request: png(request.model_copy(update={"size": "48x64"})))
    image = await studio_of(smaller, tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 48x64 instead of 64x64." in image.notes
    assert image.path.exists()


async def test_h18_a_larger_image_than_requested_is_kept_and_reported(tmp_path: Path) -> None:
    larger = Server(draw=lambda request: png(request.model_copy(update={"size": "1024x1024"})))
    image = await studio_of(larger, tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 1024x1024 instead of 64x64." in image.notes


async def test_h19_of_several_images_the_first_is_kept_and_the_rest_are_reported(tmp_path: Path) -> None:
    class Generous(Server):
        async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
            reply = await super().generate_image(request)
            return reply.model_copy(update={"data": reply.data * 3})

    image = await studio_of(Generous(), tmp_path).generate("a red fox", width=64, height=64)
    assert "The server sent 3 images instead of 1; the first one was kept." in image.notes
    assert len(list(tmp_path.glob("*.png"))) == 1


async def test_h20_the_same_image_from_different_seeds_is_reported(tmp_path: Path) -> None:
    same = encoded("png")
    studio = studio_of(Server(draw=lambda _: same), tmp_path)
    images = [await studio.generate("a red fox", width=64, height=64, seed=seed) for seed in (1, 1, 2)]
    told = "Seed 2 gave exactly the same image as seed 1: the server may ignore the seed."
    assert [told in image.notes for image in images] == [False, False, True]
    assert not [note for image in images[:2] for note in image.notes if "Seed" in note]


@pytest.mark.parametrize(
    ("colour", "looks"), [("black", "all black"), ("#ffffff", "one flat colour, #ffffff")]
)
async def test_h21_an_image_of_one_colour_is_reported(tmp_path: Path, colour: str, looks: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    image = await studio_of(Server(draw=lambda _: file.getvalue()), tmp_path).generate(
        "a red fox", width=64, height=64
    )
    told = f"The image is {looks}: the model may have failed without an error. Check the server's log."
    assert told in image.notes


async def test_a_usual_image_raises_no_suspicion(tmp_path: Path) -> None:
    image = await studio_of(Server(draw=lambda _: encoded("png")), tmp_path).generate(
        "a red fox", width=64, height=64
    )
    assert image.notes == ()
