"""EXIF blocks: the comment of other tools, written and read."""

import io
import random
import struct

import pytest
from PIL import Image
from vllm_image_core.imaging import exif
from vllm_image_core.imaging.exif import Exif

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
def test_a_comment_can_be_read_by_us_and_by_pillow(text: str) -> None:
    block = exif.encode(text)
    assert exif.read(block) == Exif(comment=text)
    assert exif.read(exif.PREFIX + block) == Exif(comment=text)
    read = Image.Exif()
    read.load(exif.PREFIX + block)
    assert read.get_ifd(EXIF_DIRECTORY)[USER_COMMENT] == b"UNICODE\0" + text.encode("utf-16-be")


def test_the_orientation_of_an_image_is_kept() -> None:
    block = exif.encode("fox", orientation=6)
    assert exif.read(block) == Exif(comment="fox", orientation=6)
    read = Image.Exif()
    read.load(exif.PREFIX + block)
    assert read[ORIENTATION] == 6


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert exif.read(exif.encode("a\ud800b")).comment == "a\ufffdb"


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
def test_comments_of_other_programs_are_read_in_any_byte_order(comment: bytes, order: str) -> None:
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
    whole = exif.encode("a red fox\nSteps: 4", orientation=3)
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
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif.PREFIX + exif.encode("fox"))
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.getexif().get_ifd(EXIF_DIRECTORY)[USER_COMMENT].startswith(b"UNICODE\0")


def directory(entries: list[tuple[int, int, bytes]], at: int, following: int = 0) -> bytes:
    """A directory with its values behind it, low bytes first; each value has more than four bytes."""
    head, values = struct.pack("<H", len(entries)), b""
    values_at = at + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        head += struct.pack("<HHII", tag, kind, len(value), values_at + len(values))
        values += value
    return head + struct.pack("<I", following) + values


def test_a_comment_in_the_first_directory_is_read() -> None:
    block = b"II*\0\x08\0\0\0" + directory([(USER_COMMENT, 7, b"ASCII\0\0\0a pier\nSteps: 4")], 8)
    assert exif.read(block).comment == "a pier\nSteps: 4"


def test_a_comment_in_the_directory_of_a_thumbnail_is_read_after_the_others() -> None:
    first = directory([(USER_COMMENT, 7, b"ASCII\0\0\0first")], 8)
    at = 8 + len(first)
    first = directory([(USER_COMMENT, 7, b"ASCII\0\0\0first")], 8, following=at)
    second = directory([(USER_COMMENT, 2, b"second")], at)
    found = exif.read(b"II*\0\x08\0\0\0" + first + second)
    assert (found.comment, found.more_comments) == ("first", ("second",))


def test_a_blank_comment_gives_way_to_a_non_blank_one() -> None:
    first = directory([(USER_COMMENT, 2, b"     "), (USER_COMMENT, 129, "a pier 桟橋".encode())], 8)
    assert exif.read(b"II*\0\x08\0\0\0" + first).comment == "a pier 桟橋"


def test_the_description_and_what_windows_writes_are_read() -> None:
    entries = [
        (0x010E, 2, b"a pier, grey\0"),
        (0x9C9B, 1, "Steg".encode("utf-16-le") + b"\0\0"),
        (0x9C9C, 1, "a pier at 6 o'clock".encode("utf-16-le")),
    ]
    assert exif.read(b"II*\0\x08\0\0\0" + directory(entries, 8)).named == {
        "Description": "a pier, grey",
        "XPTitle": "Steg",
        "XPComment": "a pier at 6 o'clock",
    }


def test_circular_directories_end() -> None:
    block = b"II*\0\x08\0\0\0" + directory([(USER_COMMENT, 2, b"a pier")], 8, following=8)
    assert exif.read(block).comment == "a pier"
