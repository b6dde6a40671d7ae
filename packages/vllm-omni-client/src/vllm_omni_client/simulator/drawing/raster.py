"""Two operations of Pillow, with the types that its annotations leave open where there is no numpy."""

from collections.abc import Sequence

from PIL import Image


def resize(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """The picture in another size."""
    return image.resize(size, resampling)  # pyright: ignore[reportUnknownMemberType] - numpy's types


def map_tones(image: Image.Image, table: Sequence[int]) -> Image.Image:
    """The picture (mode L) with each of its 256 tones replaced by the table's."""
    return image.point(table)  # pyright: ignore[reportUnknownMemberType] - numpy's types
