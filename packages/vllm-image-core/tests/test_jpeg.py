"""JPEG markers: walked and checked without decoding."""

import io
import os

import pytest
from PIL import Image
from vllm_image_core import jpeg
from vllm_image_core.errors import BadPicture
from vllm_image_core.size import Size


def drawn(*, progressive: bool = False, mode: str = "RGB") -> bytes:
    image = Image.frombytes("RGB", (48, 32), os.urandom(3 * 48 * 32)).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", progressive=progressive)
    return file.getvalue()


WHOLE = drawn()


@pytest.mark.parametrize("data", [WHOLE, drawn(progressive=True), drawn(mode="L"), drawn(mode="CMYK")])
def test_what_pillow_writes_is_whole_and_has_its_size(data: bytes) -> None:
    assert jpeg.size(data) == Size(48, 32)
    assert jpeg.check(data) == len(data)


def test_a_jpeg_cut_at_any_byte_is_refused() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(BadPicture):
            jpeg.check(WHOLE[:length])


def test_spaces_and_zero_bytes_after_the_end_are_no_part_of_the_picture() -> None:
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
def test_a_jpeg_without_a_frame_tells_no_size(data: bytes) -> None:
    with pytest.raises(BadPicture, match="tell no size"):
        jpeg.size(data)


def test_fill_bytes_between_the_markers_are_let_pass() -> None:
    filled = WHOLE[:2] + b"\xff\xff\xff" + WHOLE[2:]
    assert jpeg.size(filled) == Size(48, 32)
    assert jpeg.check(filled) == len(filled)
