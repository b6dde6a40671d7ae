"""JPEG markers: walked and checked without decoding."""

import io
import os

import pytest
from PIL import Image
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import picture_size
from vllm_image_core.text import TextTooLong


def drawn(*, progressive: bool = False, mode: str = "RGB") -> bytes:
    image = Image.frombytes("RGB", (48, 32), os.urandom(3 * 48 * 32)).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", progressive=progressive)
    return file.getvalue()


WHOLE = drawn()
KINDS = pytest.mark.parametrize(
    "data",
    [WHOLE, drawn(progressive=True), drawn(mode="L"), drawn(mode="CMYK")],
    ids=["baseline", "progressive", "grey", "CMYK"],
)


@KINDS
def test_files_by_pillow_are_complete_and_have_their_size(data: bytes) -> None:
    assert picture_size(data) == Size(48, 32)
    assert jpeg.check(data) == len(data)


def test_a_jpeg_cut_at_any_byte_is_refused() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(BadPicture):
            jpeg.check(WHOLE[:length])


def test_spaces_and_zero_bytes_after_the_end_are_not_part_of_the_image() -> None:
    assert jpeg.check(WHOLE + b"\0\0\n") == len(WHOLE)


def test_anything_else_after_the_end_is_refused() -> None:
    with pytest.raises(BadPicture, match=r"cut off after .* or followed by something else"):
        jpeg.check(WHOLE + b"<script>")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff" * 500,
        b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x30" + bytes(20),
        b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x20",
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 1000,
    ],
)
def test_a_jpeg_without_a_frame_gives_no_size(data: bytes) -> None:
    with pytest.raises(BadPicture, match="do not contain its size"):
        picture_size(data)


def test_fill_bytes_between_the_markers_are_accepted() -> None:
    filled = WHOLE[:2] + b"\xff\xff\xff" + WHOLE[2:]
    assert picture_size(filled) == Size(48, 32)
    assert jpeg.check(filled) == len(filled)


def markers(data: bytes) -> list[int]:
    return [marker for marker, _ in jpeg._segments(data)]


def with_exif(**tags: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tags.get("orientation", 1)
    image = Image.frombytes("RGB", (48, 32), os.urandom(3 * 48 * 32))
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, xmp=b"<former/>", comment=b"kept")
    return file.getvalue()


TEXTS = {"parameters": "a fox\nSteps: 4", "XML:com.adobe.xmp": "<x:xmpmeta/>"}


@KINDS
def test_texts_follow_the_jfif_header_and_all_other_bytes_stay(data: bytes) -> None:
    described = jpeg.write_texts(data, TEXTS)
    after = jpeg._after_jfif(data)
    assert described.startswith(data[:after])
    assert described.endswith(data[after:])
    assert markers(described)[: len(markers(data)) + 2].count(0xE1) == 2
    assert jpeg.check(described) == len(described)
    assert jpeg.read_texts(described) == TEXTS


def test_texts_replace_earlier_ones_and_keep_the_orientation() -> None:
    described = jpeg.write_texts(with_exif(orientation=6), TEXTS)
    assert markers(described).count(0xE1) == 2
    with Image.open(io.BytesIO(described)) as image:
        assert image.getexif()[0x0112] == 6
        assert (image.info["comment"], image.info["xmp"]) == (b"kept", b"<x:xmpmeta/>")
    assert jpeg.write_texts(described, TEXTS) == described


def test_one_text_leaves_the_other_alone() -> None:
    described = jpeg.write_texts(with_exif(), {"parameters": "Steps: 4"})
    assert jpeg.read_texts(described) == {
        "parameters": "Steps: 4",
        "XML:com.adobe.xmp": "<former/>",
        "Comment": "kept",
    }


def test_a_jpeg_without_jfif_accepts_texts_too() -> None:
    bare = WHOLE[:2] + WHOLE[20:]
    described = jpeg.write_texts(bare, TEXTS)
    assert markers(described)[:2] == [0xE1, 0xE1]
    assert jpeg.read_texts(described) == TEXTS


def test_text_that_does_not_fit_into_a_segment_is_refused() -> None:
    with pytest.raises(TextTooLong, match=r"the text of 'parameters' has \d+ bytes; at most 65533"):
        jpeg.write_texts(WHOLE, {"parameters": "x" * 32_768})
    with pytest.raises(TextTooLong, match="XML:com"):
        jpeg.write_texts(WHOLE, {"XML:com.adobe.xmp": "x" * 65_520})


@pytest.mark.timeout(60)
def test_a_file_of_nothing_but_segments_is_read_quickly() -> None:
    assert jpeg.read_texts(b"\xff\xd8" + b"\xff\xe1\0\x02" * 2_000_000) == {}


def test_comments_are_read_in_their_encoding_and_in_their_order() -> None:
    comments = [b"Created by hand", "a pier 桟橋".encode(), "a quay".encode("utf-16-le")]
    segments = [b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment for comment in comments]
    whole = drawn()
    assert jpeg.read_texts(whole[:2] + b"".join(segments) + whole[2:]) == {
        "Comment": "Created by hand",
        "Comment 2": "a pier 桟橋",
        "Comment 3": "a quay",
    }
