"""Represent an image's size in pixels, and calculate with multiples, megapixels and aspect ratios."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

_RATIO = re.compile(r"\s*(\d{1,5})\s*[:x/\N{MULTIPLICATION SIGN}]\s*(\d{1,5})\s*", re.ASCII | re.IGNORECASE)

PIXELS_PER_MEGAPIXEL = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Width and height in pixels; `str(size)` is "WIDTHxHEIGHT", as the server spells it."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def megapixels(self) -> float:
        """Millions of pixels: 1024x1024 is 1.048576."""
        return self.pixels / PIXELS_PER_MEGAPIXEL

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.width / self.height


def aspect_ratio(text: str) -> Fraction | None:
    """Parse a ratio; "16:9", " 16 : 9 ", "16x9" and "32:18" are equal. None if the text is not a ratio."""
    match = _RATIO.fullmatch(text)
    if match is None or int(match[1]) == 0 or int(match[2]) == 0:
        return None
    return Fraction(int(match[1]), int(match[2]))


def nearest_multiple(length: int, multiple: int) -> int:
    """Round to the nearest multiple, halves upwards, and never to less than one multiple."""
    return max(multiple, (2 * length + multiple) // (2 * multiple) * multiple)


def longest_other_side(other: int, *, multiple: int, max_pixels: int) -> int:
    """Return the longest side, a multiple, that together with the other fits max_pixels; 0 if none does."""
    return max_pixels // other // multiple * multiple


def shrink_to_pixels(size: Size, *, multiple: int, max_pixels: int) -> Size:
    """Return the largest size of about the same shape within max_pixels, both sides multiples.

    Uses integers only, so that it is exact for absurdly large sizes, too.
    """
    if size.width < size.height:
        turned = shrink_to_pixels(Size(size.height, size.width), multiple=multiple, max_pixels=max_pixels)
        return Size(turned.height, turned.width)
    ideal = math.isqrt(max_pixels * size.height // size.width)
    height = max(multiple, ideal // multiple * multiple)
    width = nearest_multiple(height * size.width // size.height, multiple)
    return Size(min(width, longest_other_side(height, multiple=multiple, max_pixels=max_pixels)), height)


def shrink_to_side(size: Size, *, multiple: int, longest: int) -> Size:
    """Limit both sides to `longest`, itself a multiple, keeping about the same shape; never enlarge."""
    if max(size.width, size.height) <= longest:
        return size
    if size.width < size.height:
        turned = shrink_to_side(Size(size.height, size.width), multiple=multiple, longest=longest)
        return Size(turned.height, turned.width)
    return Size(longest, nearest_multiple(size.height * longest // size.width, multiple))
