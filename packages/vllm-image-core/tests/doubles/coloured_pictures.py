"""Images of one colour or of noise, and the colours of a drawing."""

import io
import os

from PIL import Image
from vllm_image_core.imaging.picture import Picture

COLOURS = ("red", "lime", "blue", "yellow", "cyan", "magenta", "black")
RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (0, 0, 0)]


def encoded(image: Image.Image) -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return Picture.check(file.getvalue())


def noise(width: int, height: int) -> Picture:
    return encoded(Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)))


def plain(colour: str, width: int = 300, height: int = 300) -> Picture:
    return encoded(Image.new("RGB", (width, height), colour))


def near(image: Image.Image, place: tuple[int, int], wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) <= 40 for one, other in zip(colour_at(image, *place), wanted, strict=True))


def colour_at(image: Image.Image, x: int, y: int) -> bytes:
    return image.crop((x, y, x + 1, y + 1)).tobytes()
