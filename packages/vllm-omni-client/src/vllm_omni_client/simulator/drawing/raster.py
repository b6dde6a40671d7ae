"""Wrap two Pillow operations whose annotations are incomplete without numpy."""

from collections.abc import Sequence

from PIL import Image


def resize(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """Resize the image."""
    return image.resize(size, resampling)  # pyright: ignore[reportUnknownMemberType] - numpy's types


def map_tones(image: Image.Image, table: Sequence[int]) -> Image.Image:
    """Replace each of the 256 tones of a greyscale image (mode L) by its entry in the table."""
    return image.point(table)  # pyright: ignore[reportUnknownMemberType] - numpy's types
