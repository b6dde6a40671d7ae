"""Read the boxes and polygons that say where an edit may change an image, and draw them as a mask."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Final, cast

from vllm_image_core.checks import invalid_value
from vllm_image_core.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_image_core.imaging.mask import Point
    from vllm_image_core.imaging.size import Size
    from vllm_image_core.requests.input_picture import InputPicture

Areas = tuple[tuple[float, ...], ...]
"""Boxes, each with left, top, right and bottom; or polygons, each with x and y of its corners in turn."""

_BOXES: Final = "[left, top, right, bottom] in pixels or as fractions of the image, or a list of these"
_POLYGONS: Final = "a list of at least 3 corners [x, y] in pixels or as fractions, or a list of such lists"
_ALLOWED: Final = {"mask_box": _BOXES, "mask_polygon": _POLYGONS}
_MOST_NUMBERS: Final = 2_000
_BOX_NUMBERS: Final = 4
_LEAST_POLYGON_NUMBERS: Final = 6
_NUMBERS: Final = re.compile(r"[\d\s.,;+eE-]+", re.ASCII)


def read_areas(name: str, value: object) -> Areas:
    """Read `mask_box` or `mask_polygon`: one area or several, as lists, as JSON, or as "x,y,x,y; x,y,x,y".

    Raises:
        InvalidRequest: It is neither, a box is empty, or a polygon has less than three corners.
    """
    given = _from_text(value) if isinstance(value, str) else value
    areas = tuple(_flat(each) for each in _each_area(name, given))
    wrong = (
        not areas or sum(map(len, areas)) > _MOST_NUMBERS or not all(_is_area(name, each) for each in areas)
    )
    if wrong:
        raise invalid_value(name, value, "does not describe an area of the image", _ALLOWED[name])
    return areas


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskAreas:
    """Where an edit may change its image.

    Numbers up to 1 are fractions of the image's sides if all numbers of an area are; otherwise they are
    pixels.

    Attributes:
        boxes: Rectangles.
        polygons: Polygons.
        feather: Pixels over which the edge is soft.
    """

    boxes: Areas = ()
    polygons: Areas = ()
    feather: float = 0.0

    def check(self, size: Size) -> None:
        """Refuse an area outside an image of this size.

        Raises:
            InvalidRequest: An area does not overlap the image.
        """
        for name, areas in (("mask_box", self.boxes), ("mask_polygon", self.polygons)):
            for area in areas:
                points = _points(area, size)
                left, top = min(x for x, _ in points), min(y for _, y in points)
                right, bottom = max(x for x, _ in points), max(y for _, y in points)
                if left >= size.width or top >= size.height or right <= 0 or bottom <= 0:
                    raise InvalidRequest(
                        f"{name}: {list(area)} is outside the image, which is {size}.",
                        parameter=name,
                        value=list(area),
                        allowed=f"an area within {size} pixels, or fractions from 0 to 1",
                    )

    def draw(self, size: Size) -> InputPicture:
        """Draw the mask for an image of this size."""
        from vllm_image_core.imaging.mask import draw_mask  # noqa: PLC0415 - the index reads limits without Pillow
        from vllm_image_core.requests.input_picture import InputPicture  # noqa: PLC0415 - likewise

        boxes = ((*corners[0], *corners[1]) for corners in self._all(self.boxes, size))
        mask = draw_mask(size, boxes=boxes, polygons=self._all(self.polygons, size), feather=self.feather)
        return InputPicture.of(mask)

    @staticmethod
    def _all(areas: Areas, size: Size) -> Iterable[list[Point]]:
        return (_points(area, size) for area in areas)


def _points(area: Sequence[float], size: Size) -> list[Point]:
    """Return the corners of an area in pixels."""
    is_fraction = all(0 <= number <= 1 for number in area)
    across, down = (size.width, size.height) if is_fraction else (1, 1)
    return [(x * across, y * down) for x, y in zip(area[::2], area[1::2], strict=True)]


def _from_text(text: str) -> object:
    """Parse JSON, or numbers separated by commas or spaces, with a semicolon between areas."""
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        pass
    if not _NUMBERS.fullmatch(text):
        return None
    try:
        return [[float(each) for each in area.replace(",", " ").split()] for area in text.split(";")]
    except ValueError:
        return None


def _each_area(name: str, value: object) -> Iterable[object]:
    """Return the areas of a value that holds one of them, or several."""
    if not isinstance(value, list | tuple):
        return ()
    items = cast("Sequence[object]", value)
    depth = _depth(items)
    single = 1 if name == "mask_box" else 2
    return (items,) if depth == single or (name == "mask_polygon" and depth == 1) else items


def _depth(value: object) -> int:
    """Count the levels of lists in the first item of each."""
    level = 0
    while isinstance(value, list | tuple) and value:
        level, value = level + 1, cast("Sequence[object]", value)[0]
    return level


def _flat(area: object) -> tuple[float, ...]:
    """Return the numbers of an area in turn; nothing if it has anything else."""
    if not isinstance(area, list | tuple):
        return ()
    numbers: list[float] = []
    for each in cast("Sequence[object]", area):
        inner = cast("Sequence[object]", each) if isinstance(each, list | tuple) else (each,)
        for number in inner:
            if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
                return ()
            numbers.append(float(number))
    return tuple(numbers)


def _is_area(name: str, numbers: tuple[float, ...]) -> bool:
    if name == "mask_polygon":
        return len(numbers) >= _LEAST_POLYGON_NUMBERS and len(numbers) % 2 == 0
    return len(numbers) == _BOX_NUMBERS and numbers[0] < numbers[2] and numbers[1] < numbers[3]
