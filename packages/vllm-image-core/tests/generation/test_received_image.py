"""The image of a reply is checked, and its file says how it was made."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing_server import KLEIN, QWEN, Server, encoded, png, studio_of
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.content_hash import content_key


async def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
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
async def test_a_receipt_in_the_file_does_not_contain_a_withheld_prompt(tmp_path: Path, model: str) -> None:
    studio = studio_of(Server(model), tmp_path, metadata=Metadata(prompts=False))
    image = await studio.generate("my secret fox", negative_prompt="my secret hare", width=64, height=64)
    recipe = json.loads(read_text(image.path.read_bytes())["vllm-image"])
    assert recipe["receipt"]["width"] == {"requested": 64, "sent": 64, "confirmed": 64, "outcome": "as asked"}
    assert b"secret" not in image.path.read_bytes()


async def test_the_image_is_not_encoded_again(tmp_path: Path) -> None:
    server = Server()
    image = await studio_of(server, tmp_path).generate("a red fox", width=64, height=64)
    sent = png(server.requests[0])
    assert sent[sent.index(b"IDAT") :] == image.picture.bytes[image.picture.bytes.index(b"IDAT") :]


async def test_bytes_that_are_not_an_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPicture):
        await studio_of(Server(draw=lambda _: b"<html>"), tmp_path).generate("a red fox")
    assert list(tmp_path.iterdir()) == []


async def test_h15_a_jpeg_instead_of_a_requested_png_is_kept_under_its_own_extension(tmp_path: Path) -> None:
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
async def test_h17_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    small = encoded("png")
    header = b"IHDR" + struct.pack(">II", *size) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(BadPicture, match=f"its size as {size[0]}x{size[1]}"):
        await studio_of(Server(draw=lambda _: bomb), tmp_path).generate("a red fox", width=64, height=64)


async def test_each_part_of_the_metadata_can_be_switched_off(tmp_path: Path) -> None:
    nothing = Metadata(json=False, parameters=False, xmp=False)
    studio = studio_of(Server(draw=lambda _: encoded("png")), tmp_path, metadata=nothing)
    image = await studio.generate("a red fox", width=64, height=64)
    assert read_text(image.path.read_bytes()) == {}
