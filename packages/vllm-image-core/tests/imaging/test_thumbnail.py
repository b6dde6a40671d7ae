"""Thumbnails: upright, opaque and small."""

import io

import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.thumbnail import fit, thumbnail


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> Picture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Picture.check(file.getvalue())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_of_any_kind_becomes_rgb(mode: str) -> None:
    small = thumbnail(encoded(Image.new("L", (100, 50), 255).convert(mode)), Size(40, 40))
    assert (small.mode, small.size) == ("RGB", (40, 20))


def test_16_bit_grey_keeps_its_brightness() -> None:
    small = thumbnail(encoded(Image.new("I;16", (8, 8), 40_000)), Size(8, 8))
    assert small.getpixel((4, 4)) == (156, 156, 156)


def test_transparent_parts_are_white() -> None:
    small = thumbnail(encoded(Image.new("RGBA", (8, 8), (200, 0, 0, 0))), Size(8, 8))
    assert small.getpixel((4, 4)) == (255, 255, 255)


def test_a_rotated_image_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(Image.new("RGB", (60, 30), "red"), "JPEG", exif=exif)
    assert thumbnail(lying, Size(100, 100)).size == (30, 60)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_does(kind: str, orientation: int) -> None:
    drawn = Image.linear_gradient("L").crop((0, 0, 60, 30)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = encoded(drawn, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(lying.bytes)))
    assert thumbnail(lying, Size(100, 100)).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "exif", [b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20, b"II*\0\xff\xff\xff\xff", b"garbage"]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_unreadable_exif_does_not_matter(kind: str, exif: bytes) -> None:
    assert thumbnail(encoded(Image.new("RGB", (60, 30)), kind, exif=exif), Size(30, 30)).size == (30, 15)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("Raw profile type exif", "\nexif\n 10\nno hex"), ("XML:com.adobe.xmp", 'tiff:Orientation="9"')],
)
def test_texts_that_pillow_fails_on_do_not_matter(keyword: str, text: str) -> None:
    texts = PngInfo()
    texts.add_text(keyword, text)
    assert thumbnail(encoded(Image.new("RGB", (60, 30)), pnginfo=texts), Size(30, 30)).size == (30, 15)


def test_an_image_is_never_enlarged() -> None:
    assert thumbnail(encoded(Image.new("RGB", (60, 30))), Size(1000, 1000)).size == (60, 30)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((60, 30), (120, 120), (120, 60)),
        ((60, 30), (30, 30), (30, 15)),
        ((1000, 1), (10, 10), (10, 1)),
    ],
)
def test_an_image_fills_a_box_as_far_as_its_shape_allows(
    size: tuple[int, int], box: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fit(Image.new("RGB", size), Size(*box)).size == expected


def test_an_image_whose_pixels_are_missing_is_refused() -> None:
    whole = encoded(Image.new("RGB", (50, 50), "red"), "WEBP")
    broken = Picture(parts=(whole.bytes[:40],), format="webp", width=50, height=50)
    with pytest.raises(BadPicture):
        thumbnail(broken, Size(10, 10))
