"""Images of one colour, found without decoding others."""

import io
import os
import random
import struct
import zlib

import pytest
from PIL import Image, ImageDraw
from vllm_image_core.imaging.flat_colour import flat_colour
from vllm_image_core.imaging.picture import Picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> Picture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Picture.check(file.getvalue())


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def header(width: int, height: int, colour: int, *, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced))


def filtered(image: Image.Image, kinds: list[int]) -> Picture:
    """A PNG whose lines have these filters, one after the other; written here by the specification."""
    pixel_bytes, width, height = len(image.getbands()), *image.size
    rows = [image.tobytes()[y * width * pixel_bytes :][: width * pixel_bytes] for y in range(height)]

    def byte(row: bytes, index: int) -> int:
        return row[index] if index >= 0 else 0

    def nearest(a: int, b: int, c: int) -> int:
        return min((a, b, c), key=lambda value: abs(a + b - c - value))

    lines: list[bytes] = []
    for number, row in enumerate(rows):
        above = rows[number - 1] if number else bytes(len(row))
        kind = kinds[number % len(kinds)]
        line = [kind]
        for index, value in enumerate(row):
            a, b = byte(row, index - pixel_bytes), above[index]
            c = byte(above, index - pixel_bytes)
            line.append((value - (0, a, b, (a + b) // 2, nearest(a, b, c))[kind]) % 256)
        lines.append(bytes(line))

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[pixel_bytes]
    return Picture.check(
        b"\x89PNG\r\n\x1a\n"
        + header(width, height, colour)
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_a_black_image_of_any_kind_is_found(mode: str) -> None:
    black = Image.new("L", (64, 48))
    assert flat_colour(encoded(black.convert(mode))) == "#000000"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_colour_of_a_flat_image_is_reported(kind: str) -> None:
    found = flat_colour(encoded(Image.new("RGB", (100, 60), "#2060c0"), kind))
    assert found is not None
    assert all(abs(int(found[i : i + 2], 16) - int("#2060c0"[i : i + 2], 16)) <= 2 for i in (1, 3, 5))


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0], [3, 1, 4]])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_flat_png_is_found_whatever_its_filters(kinds: list[int], mode: str) -> None:
    flat = Image.new("RGBA", (9, 7), (200, 7, 99, 131)).convert(mode)
    red, green, blue = flat.convert("RGB").tobytes()[:3]
    assert flat_colour(filtered(flat, kinds)) == f"#{red:02x}{green:02x}{blue:02x}"
    for x, y in ((0, 0), (8, 0), (0, 6), (8, 6), (4, 3)):
        spotted = flat.copy()
        spotted.paste(255 if mode == "L" else (255,) * len(mode), (x, y, x + 1, y + 1))
        assert flat_colour(filtered(spotted, kinds)) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_with_content_is_not_flat(kind: str) -> None:
    image = Image.new("RGB", (200, 200))
    ImageDraw.Draw(image).rectangle((150, 150, 180, 190), fill="white")
    assert flat_colour(encoded(image, kind)) is None
    assert flat_colour(encoded(Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)), kind)) is None


def test_an_image_with_one_different_pixel_is_not_flat() -> None:
    chance = random.Random(3)
    for _ in range(50):
        image = Image.new("RGB", (33, 21), "gray")
        image.putpixel((chance.randrange(33), chance.randrange(21)), (128, 128, 129))
        assert flat_colour(encoded(image)) is None


def test_an_interlaced_png_is_decoded() -> None:
    data = (
        b"\x89PNG\r\n\x1a\n"
        + header(1, 1, 0, interlaced=True)
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )
    assert flat_colour(Picture.check(data)) == "#808080"


def test_a_png_with_missing_lines_is_not_a_flat_image() -> None:
    data = (
        b"\x89PNG\r\n\x1a\n"
        + header(100, 100, 0)
        + chunk(b"IDAT", zlib.compress(bytes(101 * 99)))
        + chunk(b"IEND", b"")
    )
    assert flat_colour(Picture.check(data)) is None


def test_only_the_first_rows_of_a_usual_image_are_decompressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = encoded(Image.frombytes("RGB", (1024, 1024), os.urandom(3 * 1024 * 1024)), compress_level=1)
    decompressed = 0
    decompressobj = zlib.decompressobj

    class Counting:
        def __init__(self) -> None:
            self._whole = decompressobj()

        def __getattr__(self, name: str) -> object:
            return getattr(self._whole, name)

        def decompress(self, data: bytes, max_length: int = 0) -> bytes:
            nonlocal decompressed
            raw = self._whole.decompress(data, max_length)
            decompressed += len(raw)
            return raw

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    assert flat_colour(picture) is None
    assert 0 < decompressed <= 10 * (1 + 3 * 1024)


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.timeout(60)
def test_a_large_flat_image_is_checked_completely(level: int) -> None:
    picture = encoded(Image.new("RGB", (4096, 4096), "red"), compress_level=level)
    assert flat_colour(picture) == "#ff0000"
