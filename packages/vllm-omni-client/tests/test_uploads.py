"""Images to start from are read from wherever the caller has them; an address is refused."""

import io
from pathlib import Path

import pytest
from PIL import Image
from vllm_omni_client import uploads as module
from vllm_omni_client._protocol.multipart import multipart
from vllm_omni_client.errors import InvalidParameter
from vllm_omni_client.uploads import InputImage, Upload, read_uploads

IMAGE = Image.new("RGB", (4, 3), "red")


def png() -> bytes:
    buffer = io.BytesIO()
    IMAGE.save(buffer, "PNG")
    return buffer.getvalue()


def half_a_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fox.png"
    path.write_bytes(png())
    return path


def test_an_image_may_be_a_path_bytes_a_file_or_a_pillow_image(path: Path) -> None:
    with path.open("rb") as file:
        images: list[InputImage] = [path, str(path), file, io.BytesIO(png())]
        assert read_uploads(images) == (Upload(field="image", format="png", content=png()),) * 4
    others: list[InputImage] = [png(), bytearray(png()), memoryview(png()), IMAGE]
    assert read_uploads(others) == (Upload(field="image", format="png", content=png()),) * 4


def test_a_single_image_needs_no_list() -> None:
    assert [one.field for one in read_uploads(png(), mask_image=IMAGE, reference_image=png())] == [
        "image",
        "mask_image",
        "reference_image",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "http://x/y.png",
        "HTTPS://x",
        "data:image/png;base64,iVBO",
        "file:///etc/x",
        " http://x",
        "s3://x/y",
        Path("https://x/y"),
    ],
)
def test_an_address_is_refused_with_the_reason(address: str | Path) -> None:
    with pytest.raises(InvalidParameter, match="is a URL") as caught:
        read_uploads(address)
    assert caught.value.parameter == "image"


@pytest.mark.parametrize("images", [[], [png()] * 5])
def test_one_to_four_images_are_accepted(images: list[InputImage]) -> None:
    with pytest.raises(InvalidParameter, match="1 to 4 images"):
        read_uploads(images)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"GIF89a", "is not a PNG, JPEG or WebP"),
        ("/nowhere/fox.png", "cannot be read"),
        ("a\0b", "cannot be read"),
        (io.StringIO("x"), "opened for text"),
        (7, "int is not a path"),
        (Image.new("CMYK", (4, 3)), r"cannot write mode CMYK as PNG.*convert\(.RGB"),
        (Image.new("RGB", (0, 0)), "cannot be sent as PNG"),
        (Image.open(io.BytesIO(half_a_jpeg())), "truncated"),
    ],
)
def test_anything_but_a_complete_image_is_refused(image: InputImage, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        read_uploads(png(), mask_image=image)


def test_an_image_that_is_too_large_is_not_read_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_UPLOAD_BYTES", 10)
    for image in (path, png(), io.BytesIO(png())):
        with pytest.raises(InvalidParameter, match="more than 10 bytes"):
            read_uploads(image)


def test_a_form_has_its_fields_before_its_files() -> None:
    kind, body = multipart([("prompt", "blå")], read_uploads([png()], mask_image=png()))
    boundary = kind.removeprefix("multipart/form-data; boundary=").encode()
    parts = body.split(b"--" + boundary)
    assert parts[1] == b'\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n' + "blå\r\n".encode()
    assert parts[2] == (
        b'\r\ncontent-disposition: form-data; name="image"; filename="image_0.png"\r\n'
        b"content-type: image/png\r\n\r\n" + png() + b"\r\n"
    )
    assert b'name="mask_image"; filename="mask_image_1.png"' in parts[3]
    assert parts[4] == b"--\r\n"
