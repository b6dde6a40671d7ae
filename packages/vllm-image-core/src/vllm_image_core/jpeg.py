"""The markers of a JPEG file: walked and checked, without decoding a pixel.

Source: ITU-T T.81, annex B.
"""

from collections.abc import Iterator

from vllm_image_core.errors import BadPicture
from vllm_image_core.size import Size

SIGNATURE = b"\xff\xd8\xff"

_END = b"\xff\xd9"
_SCAN = 0xDA
_FILL = 0xFF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def size(data: bytes) -> Size:
    """The size that the frame header of a JPEG tells.

    Raises:
        BadPicture: There is no such header, or its size is nothing.
    """
    for marker, start in _segments(data):
        if marker in _FRAMES:
            height = int.from_bytes(data[start + 3 : start + 5])
            width = int.from_bytes(data[start + 5 : start + 7])
            if not (width and height and len(data) >= start + 7):
                break
            return Size(width, height)
    raise BadPicture(f"The JPEG's {len(data)} bytes tell no size.")


def check(data: bytes) -> int:
    """Check that a JPEG is whole, from its tables to its end, and return how long it is in bytes.

    JPEG has no checksums: a damaged byte within the scan is not found. Spaces and zero bytes may follow.

    Raises:
        BadPicture: The scan or the end is missing.
    """
    if _SCAN not in (marker for marker, _ in _segments(data)):
        raise BadPicture("The JPEG has no picture data.")
    whole = data.rstrip(b"\0 \t\r\n")
    if not whole.endswith(_END):
        raise BadPicture(f"The JPEG is cut off after {len(data)} bytes, or followed by something else.")
    return len(whole)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker up to the first scan, and where the segment after it starts; ends where there is none."""
    position = 2
    while position + 4 <= len(data) and data[position] == _FILL:
        marker = data[position + 1]
        if marker in (_FILL, *_ALONE):
            position += 1 if marker == _FILL else 2
            continue
        yield marker, position + 2
        if marker == _SCAN:
            return
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
