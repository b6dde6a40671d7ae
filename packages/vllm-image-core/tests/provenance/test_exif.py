"""EXIF blocks: the comment of other tools, written and read."""

import io
import random
import struct

import pytest
from PIL import Image
from vllm_image_core.provenance import exif
from vllm_image_core.provenance.exif import Exif

USER_COMMENT = 0x9286
EXIF_DIRECTORY = 0x8769
ORIENTATION = 0x0112
MAKE = 0x010F
MODEL = 0x0110


def by_pillow(comment: bytes, order: str = "II") -> bytes:
    written = Image.Exif()
    written.endian = "<" if order == "II" else ">"
    written.get_ifd(EXIF_DIRECTORY)[USER_COMMENT] = comment
    return written.tobytes()


@pytest.mark.parametrize("text", ["a red fox\nSteps: 4", "雪の中の狐 🦊", "", "x" * 30_000])
def test_a_comment_comes_back_from_us_and_from_pillow(text: str) -> None:
    block = exif.encoded(text)
    assert exif.read(block) == Exif(comment=text)
    assert exif.read(exif.PREFIX + block) == Exif(comment=text)
    read = Image.Exif()
    read.load(exif.PREFIX + block)
    assert read.get_ifd(EXIF_DIRECTORY)[USER_COMMENT] == b"UNICODE\0" + text.encode("utf-16-be")


def test_how_a_picture_is_turned_is_kept() -> None:
    block = exif.encoded("fox", orientation=6)
    assert exif.read(block) == Exif(comment="fox", orientation=6)
    read = Image.Exif()
    read.load(exif.PREFIX + block)
    assert read[ORIENTATION] == 6


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert exif.read(exif.encoded("a\ud800b")).comment == "a\ufffdb"


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "Steps: 4, 狐".encode("utf-16-be"),
        b"UNICODE\0" + "Steps: 4, 狐".encode("utf-16-le"),
        b"UNICODE\0" + "\ufeffSteps: 4, 狐".encode("utf-16-be"),
        b"\0" * 8 + "Steps: 4, 狐".encode(),
        "Steps: 4, 狐".encode(),
    ],
)
def test_comments_of_other_programs_are_read_in_any_order_of_bytes(comment: bytes, order: str) -> None:
    assert exif.read(by_pillow(comment, order)).comment == "Steps: 4, 狐"


def test_an_ascii_comment_is_read() -> None:
    assert exif.read(by_pillow(b"ASCII\0\0\0Steps: 4")).comment == "Steps: 4"


def test_the_texts_of_the_first_directory_are_read() -> None:
    written = Image.Exif()
    written[MAKE] = 'workflow:{"nodes": []}'
    written[MODEL] = 'prompt:{"3": {}}'
    assert exif.read(written.tobytes()).texts == ('workflow:{"nodes": []}', 'prompt:{"3": {}}')


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"MM\0*",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"PK\x03\x04" + bytes(100),
        # a directory whose entry points to itself, and a comment of 4 GiB
        b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", EXIF_DIRECTORY, 4, 1, 8) + bytes(4),
        b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", USER_COMMENT, 7, 2**32 - 1, 8) + bytes(4),
    ],
)
def test_a_damaged_block_says_nothing(block: bytes) -> None:
    assert exif.read(block) == Exif()


def test_any_damage_is_survived() -> None:
    whole = exif.encoded("a red fox\nSteps: 4", orientation=3)
    chance = random.Random(1)
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        assert isinstance(exif.read(bytes(damaged[: chance.randint(1, len(damaged))])), Exif)


def test_no_more_than_sixteen_texts_are_read() -> None:
    entries = b"".join(struct.pack(">HHI4s", 0x0100 + number, 2, 4, b"abc\0") for number in range(200))
    block = b"MM\0*\0\0\0\x08" + struct.pack(">H", 200) + entries + bytes(4)
    assert exif.read(block).texts == ("abc",) * 16


def test_a_jpeg_with_the_block_opens_in_pillow() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif.PREFIX + exif.encoded("fox"))
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.getexif().get_ifd(EXIF_DIRECTORY)[USER_COMMENT].startswith(b"UNICODE\0")
