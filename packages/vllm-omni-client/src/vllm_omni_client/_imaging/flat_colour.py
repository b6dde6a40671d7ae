"""Flatness: whether a PNG is one colour all over, which is what a model that failed in silence draws.

It is unpacked line by line up to the first that differs, which is the first of nearly every picture.
Source: PNG (Third Edition), W3C Recommendation of 24 June 2025, section 9.
"""

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_omni_client._imaging.png import PngHeader

_BITS: Final = 8
_COLOURED: Final = frozenset({2, 6})
_PALETTE: Final = 3
_FILTERS: Final = range(5)
# Of less it is no wonder; more is not made by default (see `picture.MOST_PIXELS`), and not unpacked here.
_JUDGED_PIXELS: Final = range(64, 7680 * 4320 + 1)
_LONGEST_LINE: Final = 256 * 1024
# Lines of a flat picture that are unpacked at once.
_LINES: Final = 32


class Flatness:
    """A look at a picture's packed lines while they come in.

    Interlaced pictures, those with a palette and those of fewer than 8 bits are not judged, nor tiny and
    giant ones.

    Args:
        header: The PNG's header.
    """

    def __init__(self, header: "PngHeader") -> None:
        self._coloured = header.colour in _COLOURED
        self._sample_bytes = header.depth // _BITS
        self._pixel_bytes = header.samples * self._sample_bytes
        self._width, self._height = header.width, header.height
        self._length = 1 + self._width * self._pixel_bytes
        whole = header.depth >= _BITS and header.colour != _PALETTE and not header.interlaced
        judged = header.width * header.height in _JUDGED_PIXELS and self._length <= _LONGEST_LINE
        self.open: bool = whole and judged
        """Whether what comes next may still matter."""
        self._unpacking = zlib.decompressobj()
        self._waiting = b""
        self._lines = 0
        self._pixel = b""
        self._expected: Mapping[int, bytes] = {}

    def feed(self, packed: bytes | memoryview) -> None:
        """Take the next bytes of the picture data; damaged ones end the looking."""
        length = self._length
        rest: bytes | memoryview = packed
        while self.open and len(rest):
            wanted = length * (_LINES if self._lines else 1) - len(self._waiting)
            try:
                self._waiting += self._unpacking.decompress(rest, wanted)
            except zlib.error:
                self.open = False
            rest = self._unpacking.unconsumed_tail
            while self.open and len(self._waiting) >= length and self._lines < self._height:
                self._compare(self._waiting[:length])
                self._waiting = self._waiting[length:]
            self.open = self.open and not self._unpacking.eof and self._lines < self._height

    @property
    def colour(self) -> str | None:
        """The colour, as "#rrggbb", of a picture that has no other; None for any that was not judged."""
        if not self._height or self._lines < self._height:
            return None
        high = self._pixel[:: self._sample_bytes]  # of two bytes the first says nearly all
        red, green, blue = high[:3] if self._coloured else high[:1] * 3
        return f"#{red:02x}{green:02x}{blue:02x}"

    def _compare(self, line: bytes) -> None:
        """Compare a line while it is still filtered: there are but five ways to write a flat one."""
        if not self._lines:
            self._pixel = line[1 : 1 + self._pixel_bytes]
            self._expected = self._flat_lines(bytes(self._pixel_bytes))
        elif self._lines == 1:
            self._expected = self._flat_lines(self._pixel)
        if line == self._expected.get(line[0]):
            self._lines += 1
        else:
            self.open = False

    def _flat_lines(self, above: bytes) -> Mapping[int, bytes]:
        """Return what a line of the one colour looks like under `above`, by its filter."""
        pairs = tuple(zip(self._pixel, above, strict=True))
        return {
            kind: bytes([kind])
            + bytes((value - _prediction(kind, 0, up)) % 256 for value, up in pairs)
            + bytes((value - _prediction(kind, value, up)) % 256 for value, up in pairs) * (self._width - 1)
            for kind in _FILTERS
        }


def _prediction(kind: int, left: int, up: int) -> int:
    """Return what a filter takes off a byte; the last one takes `left`, or where that is 0, `up`."""
    return (0, left, up, (left + up) // 2, left or up)[kind]
