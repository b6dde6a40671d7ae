"""Pictures: believed only after a check."""

import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import FrozenInstanceError

import pytest
from PIL import Image
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import MAX_PIXELS, Picture, read_text, write_text
from vllm_image_core.imaging.size import Size

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


def drawn(kind: str = "png", width: int = 48, height: int = 32) -> bytes:
    image = Image.frombytes("RGB", (width, height), os.urandom(3 * width * height))
    file = io.BytesIO()
    image.save(file, FORMATS[kind])
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(os.urandom(2000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "extension"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_a_complete_image_is_accepted_with_its_actual_format_and_size(kind: str, extension: str) -> None:
    data = drawn(kind)
    picture = Picture.check(data)
    assert (picture.bytes, picture.format, picture.width, picture.height) == (data, kind, 48, 32)
    assert (picture.size, picture.extension) == (Size(48, 32), extension)
    assert picture.pil().size == (48, 32)


def test_an_image_is_an_immutable_value() -> None:
    data = drawn()
    picture = Picture.check(data)
    assert picture == Picture.check(data)
    assert repr(picture) == "Picture(format='png', width=48, height=32)"
    with pytest.raises(FrozenInstanceError):
        picture.width = 7  # pyright: ignore[reportAttributeAccessIssue] -- the point of the test


@pytest.mark.parametrize("kind", list(FORMATS))
def test_blanks_after_the_end_are_dropped(kind: str) -> None:
    data = drawn(kind)
    assert Picture.check(data + b"\r\n\0").bytes == data


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("missing", [1, 5, 100, 1500])
def test_a_truncated_image_is_refused(kind: str, missing: int) -> None:
    data = drawn(kind, 64, 64)
    with pytest.raises(BadPicture, match="cut off"):
        Picture.check(data[:-missing])


@pytest.mark.parametrize("kind", list(FORMATS))
def test_an_image_with_too_many_pixels_is_refused_by_its_header(kind: str) -> None:
    data = drawn(kind)
    assert Picture.check(data, max_pixels=48 * 32).width == 48
    with pytest.raises(BadPicture, match="its size as 48x32; at most 1535 pixels"):
        Picture.check(data, max_pixels=48 * 32 - 1)


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (20_000, 20_000), (1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(BadPicture, match=f"its size as {width}x{height}; at most {MAX_PIXELS} pixels"):
        Picture.check(png_that_says(width, height))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "got nothing"),
        (b"<html><body><h1>502 Bad Gateway</h1></body></html>", "an HTML page .*502 Bad Gateway"),
        (b'{"detail": "no"}', "JSON"),
        (b"GIF89a" + bytes(50), "a GIF image"),
        (b"\x89PNG\r\n\x1a", "a damaged PNG"),
        (b"\x9b\x06\xba\x01" + bytes(50), "54 bytes that begin with"),
    ],
)
def test_anything_but_a_complete_image_is_refused_with_a_description(data: bytes, told: str) -> None:
    with pytest.raises(BadPicture, match=told) as caught:
        Picture.check(data)
    assert caught.value.next_step
    assert len(caught.value.message) < 250


def test_a_jpeg_that_pillow_cannot_read_is_refused() -> None:
    data = drawn("jpeg")
    tables = data.index(b"\xff\xc0")
    damaged = data[: tables + 9] + b"\x09" + data[tables + 10 :]  # nine colour components
    with pytest.raises(BadPicture, match="JPEG"):
        Picture.check(damaged)


def test_a_jpeg_that_states_two_sizes_is_refused() -> None:
    data = drawn("jpeg")
    frame = data.index(b"\xff\xc0")
    small = data[: frame + 5] + b"\0\x08\0\x08" + data[frame + 9 : frame + 19] + data[frame:]
    with pytest.raises(BadPicture, match="two sizes: 8x8 and 48x32"):
        Picture.check(small)


def test_a_png_with_fewer_rows_than_stated_is_detected_when_decoded() -> None:
    picture = Picture.check(png_that_says(1000, 1000))
    with pytest.raises(BadPicture, match="PNG cannot be decoded"):
        picture.pil()


def test_text_is_written_into_a_png_and_read_back() -> None:
    picture = Picture.check(drawn())
    texts = {"parameters": "a fox\nSteps: 4", "vllm-image": '{"prompt": "狐"}'}
    described = write_text(picture, texts)
    assert read_text(described.bytes) == texts
    assert read_text(picture.bytes) == {}
    assert Picture.check(described.bytes) == described
    assert described.pil().tobytes() == picture.pil().tobytes()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_two_texts_are_written_into_any_format_and_read_back(kind: str) -> None:
    picture = Picture.check(drawn(kind))
    texts = {"parameters": "狐 in the snow\nSteps: 4", "XML:com.adobe.xmp": "<x:xmpmeta/>"}
    described = write_text(picture, texts)
    assert read_text(described.bytes) == texts
    assert Picture.check(described.bytes) == described
    assert described.pil().tobytes() == picture.pil().tobytes()
    assert write_text(described, texts) == described


@pytest.mark.parametrize("kind", list(FORMATS))
def test_empty_text_changes_nothing(kind: str) -> None:
    picture = Picture.check(drawn(kind))
    assert write_text(picture, {}) is picture
    assert read_text(picture.bytes) == {}


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_text_that_a_format_cannot_hold_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="'workflow' cannot be stored in EXIF or XMP"):
        write_text(Picture.check(drawn(kind)), {"workflow": "{}"})


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"])
def test_anything_but_a_complete_image_has_no_texts(data: bytes) -> None:
    assert read_text(data) == {}


def test_a_notebook_shows_each_format() -> None:
    png, jpeg, webp = (Picture.check(drawn(kind)) for kind in FORMATS)
    assert (png._repr_png_(), png._repr_jpeg_()) == (png.bytes, None)
    assert (jpeg._repr_png_(), jpeg._repr_jpeg_()) == (None, jpeg.bytes)
    shown = webp._repr_jpeg_()
    assert webp._repr_png_() is None
    assert shown is not None
    assert Picture.check(shown).size == webp.size


def test_a_notebook_shows_a_large_image_at_a_reduced_size() -> None:
    file = io.BytesIO()
    Image.effect_noise((1500, 1000), 80).save(file, "PNG")
    large = Picture.check(file.getvalue())
    shown = large._repr_jpeg_()
    assert large._repr_png_() is None
    assert shown is not None
    assert Picture.check(shown).width == 1024
    assert len(shown) <= 262_144 < len(large.bytes)


def test_importing_this_module_and_checking_a_png_does_not_import_pillow() -> None:
    program = (
        "import sys; from vllm_image_core.imaging.picture import Picture, write_text;"
        "import vllm_image_core.storage.store;"
        "write_text(Picture.check(bytes.fromhex(sys.argv[1])), {'a': 'b'}); sys.exit('PIL' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program, drawn().hex()], check=False, timeout=60).returncode
        == 0
    )
