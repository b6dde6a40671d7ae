"""Perceptual hash: find images that look alike, by the brightness of neighbouring areas."""

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["HASH_BITS", "NearDuplicates", "perceptual_hash"]

HASH_BITS: Final = 64
_SIDE: Final = 8


def perceptual_hash(image: "Image.Image") -> int:
    """Return the difference hash of an image: 64 bits, one for each pair of neighbouring areas.

    Copies in another size, format or quality differ in few bits; different images in about half of them.
    """
    from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

    small = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(_SIDE):
        line = small[row * (_SIDE + 1) : (row + 1) * (_SIDE + 1)]
        for left, right in pairwise(line):
            bits = bits << 1 | (left < right)
    return bits


class NearDuplicates:
    """Remembers perceptual hashes, and finds those that differ in few bits from another one.

    Hashes that differ in at most n bits are equal in one of n + 1 parts of them, so that each hash is
    compared with few others.

    Args:
        distance: In how many bits duplicates may differ, 0 to 16.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        bounds = [HASH_BITS * part // (distance + 1) for part in range(distance + 2)]
        self._parts = [(low, (1 << (high - low)) - 1) for low, high in pairwise(bounds)]
        self._seen: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, hash_: int) -> bool:
        """Remember a hash; return whether it is new, not one of an image that looks like an earlier one."""
        keys = [(part, hash_ >> low & mask) for part, (low, mask) in enumerate(self._parts)]
        for key in keys:
            if any((hash_ ^ other).bit_count() <= self._distance for other in self._seen[key]):
                return False
        for key in keys:
            self._seen[key].append(hash_)
        return True
