"""Input images: read once, within limits, in whatever form they are given."""

import hashlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests import input_picture
from vllm_image_core.requests.input_picture import InputPicture, read_input, read_input_file

ORIENTATION = 0x0112


def encoded(kind: str = "PNG", size: tuple[int, int] = (40, 24), **options: object) -> bytes:
    file = io.BytesIO()
    width, height = size
    Image.radial_gradient("L").crop((0, 0, width, height)).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def refused(source: object, parameter: str = "images") -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_input(source, parameter=parameter)
    assert caught.value.parameter == parameter
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_in_any_form_is_the_same_image(kind: str, tmp_path: Path) -> None:
    data = encoded(kind)
    path = tmp_path / "fox.bin"
    path.write_bytes(data)

    read = [
        read_input(source, parameter="images")
        for source in (data, bytearray(data), memoryview(data), path, str(path), Picture.check(data))
    ]

    assert {one.sha256 for one in read} == {hashlib.sha256(data).hexdigest()}
    assert {one.picture.bytes for one in read} == {data}
    assert [one.name for one in read] == [None, None, None, "fox.bin", "fox.bin", None]
    assert read_input(read[0], parameter="mask") is read[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_a_pillow_image_of_any_mode_becomes_a_png(mode: str) -> None:
    picture = read_input(Image.new(mode, (20, 12)), parameter="images").picture
    assert (picture.format, picture.width, picture.height) == ("png", 20, 12)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_rotated_image_is_turned_upright_because_the_server_would_not(kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = read_input(encoded(kind, exif=exif), parameter="images").picture

    assert (upright.width, upright.height) == (24, 40)
    assert upright.format == "png"
    turned = Image.open(io.BytesIO(encoded(kind))).transpose(Image.Transpose.ROTATE_270)
    assert upright.pil().tobytes() == turned.tobytes()


def test_an_upright_jpeg_is_sent_unchanged_even_if_its_exif_is_unreadable() -> None:
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        data = encoded("JPEG", exif=exif)
        assert read_input(data, parameter="images").picture.bytes == data


@pytest.mark.parametrize(
    "address",
    [
        *("http://10.0.0.1/a.png", "https://example.org/a.png", "HTTP://x"),
        "ftp://x/a.png",
    ],
)
def test_a_url_is_refused_with_the_reason(address: str) -> None:
    error = refused(address)
    assert "is a URL" in error.message
    assert "Download the image yourself" in error.next_step


@pytest.mark.parametrize("start", ["file://", "FILE://localhost", "file:"])
def test_a_file_url_of_this_machine_is_its_path(start: str, tmp_path: Path) -> None:
    path = tmp_path / "a photo.png"
    path.write_bytes(encoded())

    read = read_input(start + path.as_uri().removeprefix("file://"), parameter="images")

    assert (read.picture.bytes, read.name) == (encoded(), "a photo.png")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file://nas/photo.png", "the file is on another machine"),
        ("file:photo.png", "it is not a valid file URL; use file:///path"),
        ("file:///srv/%00.png", "null"),
    ],
)
def test_another_file_url_is_refused_with_the_reason(url: str, why: str) -> None:
    error = refused(url)
    assert why in error.message
    assert url in error.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        encoded()[:-20],
        encoded("JPEG")[:200],
        encoded("WEBP")[:40],
        encoded().replace(b"IDAT", b"IDAX", 1),
    ],
)
def test_anything_but_a_complete_image_is_refused_with_what_is_allowed(data: bytes) -> None:
    error = refused(data)
    assert "PNG, JPEG or WebP" in error.allowed
    assert error.next_step


def test_the_content_of_a_file_that_is_not_an_image_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    for content in (b"password: hunter2", b'{"key": "hunter2"}', b"\x00\x01hunter2", b"<html>hunter2"):
        path.write_bytes(content)
        error = refused(path)
        assert "hunter2" not in error.message
        assert b"hunter2".hex(" ") not in error.message


def test_a_bomb_is_refused_by_its_header_before_anything_is_decompressed() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    assert "60000x60000" in refused(b"\x89PNG\r\n\x1a\n" + chunk + bytes(64)).message
    assert "7000x7000" in refused(Image.new("1", (7000, 7000))).message


def test_no_more_of_a_file_is_read_than_an_image_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            self.taken += size
            return encoded()[:8].ljust(size, b"\0")

    monkeypatch.setattr(input_picture, "MOST_INPUT_BYTES", 100_000)
    endless = Endless()
    with pytest.raises(InvalidRequest, match="larger than 100000 bytes"):
        read_input_file(endless, name="endless.png", parameter="images")  # pyright: ignore[reportArgumentType] - it is read and no more
    assert endless.taken == 100_001


def test_anything_but_a_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    special: list[Path] = []
    if sys.platform != "win32":  # which has neither
        special = [tmp_path / "pipe.png", Path("/dev/zero")]
        os.mkfifo(special[0])
    for path in (*special, tmp_path, tmp_path / "gone.png", "a\0b", "x" * 5000):
        assert "cannot be read" in (message := refused(path).message) or "is not a regular file" in message


def test_the_advice_for_a_missing_file_is_about_its_path_not_its_format(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.png").next_step.startswith("Check the path")
    assert "save this one as PNG first" in refused(Path(__file__)).next_step


@pytest.mark.parametrize(
    "source", [None, 7, True, object(), SimpleNamespace(size=(1, 1)), ["a.png"], {"path": "a.png"}]
)
def test_objects_that_are_no_image_are_refused(source: object) -> None:
    assert "path, bytes" in refused(source, "mask").message


def test_only_the_plain_name_of_a_file_is_kept() -> None:
    picture = Picture.check(encoded())
    for name in ("/home/you/private/fox.png", "C:\\Users\\you\\fox.png", "../../fox.png", "fox.png"):
        assert InputPicture.of(picture, name=name).name == "fox.png"
    assert len(InputPicture.of(picture, name="f" * 1000).name or "") <= 120
    assert InputPicture.of(picture, name="a\x1b[31mb\n.png").name == "a\\x1b[31mb\\n.png"
