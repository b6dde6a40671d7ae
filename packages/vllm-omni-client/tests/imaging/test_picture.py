"""Format, size and integrity are derived from the bytes alone, whatever the server calls them."""

import io

import pytest
from PIL import Image
from vllm_omni_client._imaging.picture import (
    DamagedPicture,
    InspectedImage,
    Inspection,
    PictureSize,
    format_of,
    inspect,
    size_of,
)


def encoded(kind: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


KINDS = [
    ("png", encoded("PNG")),
    ("jpeg", encoded("JPEG")),
    ("jpeg", encoded("JPEG", progressive=True, exif=b"Exif\0\0" + bytes(60_000))),
    ("webp", encoded("WEBP")),
    ("webp", encoded("WEBP", lossless=True)),
    ("webp", encoded("WEBP", exif=b"Exif\0\0" + bytes(100))),
]


@pytest.mark.parametrize(("kind", "data"), KINDS)
@pytest.mark.parametrize("step", [1, 100, 65_536])
def test_every_format_is_recognised_in_pieces_of_any_length(kind: str, data: bytes, step: int) -> None:
    inspection = Inspection()
    for start in range(0, len(data), step):
        inspection.feed(data[start : start + step])
    assert inspection.finish() == inspect(data)
    assert inspect(data) == InspectedImage(format=kind, size=PictureSize(40, 30), length=len(data))  # type: ignore[arg-type]  # a str of the table


@pytest.mark.parametrize(("kind", "data"), KINDS)
def test_format_and_size_are_read_from_the_start(kind: str, data: bytes) -> None:
    assert (format_of(data), str(size_of(data))) == (kind, "40x30")


@pytest.mark.parametrize("data", [data for _, data in KINDS])
@pytest.mark.parametrize("left", [0, 3, 25, 0.5, -5])
def test_a_truncated_image_is_refused(data: bytes, left: float) -> None:
    end = int(len(data) * left) if isinstance(left, float) else left
    with pytest.raises(DamagedPicture):
        inspect(data[:end])


@pytest.mark.parametrize(
    "junk", [b"", b"GIF89a" + bytes(50), b"<html>" * 20, b"\xff\xd8\xff\xd9", b"\xff\xd8\xff" + b"\0" * 99]
)
def test_anything_but_a_complete_image_is_refused(junk: bytes) -> None:
    with pytest.raises(DamagedPicture):
        inspect(junk)


def test_an_image_that_claims_to_be_far_too_large_is_refused_before_it_is_decompressed() -> None:
    bomb = encoded("PNG", (1000, 1000))
    with pytest.raises(DamagedPicture, match="a size of 1000x1000, far more than was requested"):
        inspect(bomb, most_pixels=999_999)
    assert inspect(bomb, most_pixels=1_000_000).size == (1000, 1000)
