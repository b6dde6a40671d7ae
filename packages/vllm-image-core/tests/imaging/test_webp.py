"""WebP chunks: walked and checked without decoding."""

import io
import os
import struct

import pytest
from PIL import Image
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import webp
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import picture_size


def drawn(*, lossless: bool = False, exif: bytes = b"", frames: int = 1) -> bytes:
    images = [Image.frombytes("RGB", (49, 33), os.urandom(3 * 49 * 33)) for _ in range(frames)]
    file = io.BytesIO()
    rest = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(file, "WEBP", lossless=lossless, exif=exif, **rest)
    return file.getvalue()


WHOLE = drawn()


@pytest.mark.parametrize(
    ("data", "first"),
    [
        (WHOLE, b"VP8 "),
        (drawn(lossless=True), b"VP8L"),
        (drawn(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), b"VP8X"),
        (drawn(frames=3), b"VP8X"),
    ],
    ids=["lossy", "lossless", "with EXIF", "animated"],
)
def test_files_by_pillow_are_complete_and_have_their_size(data: bytes, first: bytes) -> None:
    assert data[12:16] == first
    assert webp.is_webp(data)
    assert picture_size(data) == Size(49, 33)
    assert webp.check(data) == len(data)


def test_a_webp_cut_at_any_byte_is_refused() -> None:
    for length in range(12, len(WHOLE)):
        with pytest.raises(BadPicture, match=f"cut off after {length} of {len(WHOLE)} bytes"):
            webp.check(WHOLE[:length])


def test_spaces_and_zero_bytes_after_the_end_are_not_part_of_the_image() -> None:
    assert webp.check(WHOLE + b"\0\n") == len(WHOLE)


def test_anything_else_after_the_end_is_refused() -> None:
    with pytest.raises(BadPicture, match="8 bytes that are not part of the WebP"):
        webp.check(WHOLE + b"<script>")


def test_a_webp_without_pixels_is_refused() -> None:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(BadPicture, match="no image data"):
        webp.check(b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas)


@pytest.mark.parametrize(
    "first", [b"", b"EXIF" + bytes(20), b"VP8X" + bytes(9), b"VP8 " + bytes(20), b"VP8L" + bytes(20)]
)
def test_a_webp_whose_first_chunk_has_no_pixels_gives_no_size(first: bytes) -> None:
    with pytest.raises(BadPicture, match="do not contain its size"):
        picture_size(b"RIFF\x20\0\0\0WEBP" + first)


def test_the_size_of_the_largest_canvas_is_known_without_decoding() -> None:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    assert picture_size(b"RIFF\x20\0\0\0WEBP" + canvas) == Size(2**24, 2**24)


TEXTS = {"parameters": "a fox\nSteps: 4", "XML:com.adobe.xmp": "<x:xmpmeta/>"}


def kinds(data: bytes) -> list[bytes]:
    return [chunk.kind for chunk in webp._chunks(data)]


def see_through(*, lossless: bool) -> bytes:
    image = Image.frombytes("RGBA", (49, 33), os.urandom(4 * 49 * 33))
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=lossless)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        (WHOLE, 0x0C),
        (drawn(lossless=True), 0x0C),
        (see_through(lossless=True), 0x1C),
        (see_through(lossless=False), 0x1C),
        (drawn(frames=3), 0x0E),
        (drawn(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), 0x0C),
    ],
    ids=["lossy", "lossless", "lossless with alpha", "lossy with alpha", "animated", "with EXIF"],
)
def test_texts_follow_the_pixels_and_the_canvas_says_so(data: bytes, flags: int) -> None:
    described = webp.write_texts(data, TEXTS)
    assert (kinds(described)[0], kinds(described)[-2:]) == (b"VP8X", [b"EXIF", b"XMP "])
    assert (described[20], picture_size(described)) == (flags, Size(49, 33))
    assert int.from_bytes(described[4:8], "little") == len(described) - 8
    assert webp.check(described) == len(described)
    assert webp.read_texts(described) == TEXTS
    assert webp.write_texts(described, TEXTS) == described
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(described)) as after:
        assert before.convert("RGBA").tobytes() == after.convert("RGBA").tobytes()
        assert after.info["xmp"] == b"<x:xmpmeta/>"


def test_one_text_leaves_the_other_alone() -> None:
    described = webp.write_texts(webp.write_texts(WHOLE, TEXTS), {"parameters": "Steps: 5"})
    assert webp.read_texts(described) == {**TEXTS, "parameters": "Steps: 5"}


def test_a_colour_profile_stays_before_the_pixels() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", icc_profile=b"profile")
    described = webp.write_texts(file.getvalue(), TEXTS)
    assert kinds(described) == [b"VP8X", b"ICCP", b"VP8 ", b"EXIF", b"XMP "]
    assert described[20] == 0x2C


@pytest.mark.timeout(60)
def test_a_file_of_nothing_but_chunks_is_read_quickly() -> None:
    assert webp.read_texts(b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * 2_000_000) == {}
