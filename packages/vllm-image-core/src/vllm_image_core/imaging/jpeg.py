"""Check JPEG files, and read and write their metadata segments, without decoding a pixel.

Source: ITU-T T.81, annex B; for EXIF and XMP, Exif 2.32, section 4.7, and XMP part 3, section 1.1.3.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import exif, metadata_blocks, xmp
from vllm_image_core.imaging.exif_text import comment_text
from vllm_image_core.imaging.metadata_blocks import Blocks
from vllm_image_core.text import TextTooLong

SIGNATURE = b"\xff\xd8\xff"

_END = b"\xff\xd9"
_SCAN = 0xDA
_FILL = 0xFF
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP13: Final = 0xED
_COMMENT: Final = 0xFE
_XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP_PREFIX: Final = b"http://ns.adobe.com/xmp/extension/\0"
_MAX_CONTENT_BYTES: Final = 65_533
"""A segment's length is two bytes, which count themselves."""

_MAX_COMMENTS: Final = 4
_MAX_SEGMENTS: Final = 4096
"""How many segments are examined; an image has about ten."""


def check(data: bytes) -> int:
    """Check that a JPEG is complete, from its tables to its end, and return its length in bytes.

    JPEG has no checksums: a damaged byte within the scan is not detected. Spaces and zero bytes may follow.
    """
    if _SCAN not in (marker for marker, _ in _segments(data)):
        raise BadPicture("The JPEG has no image data.")
    content = data.rstrip(b"\0 \t\r\n")
    if not content.endswith(_END):
        raise BadPicture(f"The JPEG is cut off after {len(data)} bytes, or followed by something else.")
    return len(content)


def write_texts(data: bytes, texts: Mapping[str, str], *, alone: bool = False) -> bytes:
    """Write texts into a checked JPEG, each in a segment that replaces an earlier one; the rest is kept.

    They are written after the start and the JFIF header. "parameters" becomes EXIF's UserComment; an XMP
    packet is written as it is. `alone` also removes all other EXIF, XMP, IPTC and comments; the orientation
    is kept. A text with another keyword is a ValueError, one of 64 KiB or more a TextTooLong.
    """
    new = metadata_blocks.build_blocks(texts, replaced=_blocks(data), alone=alone)
    view = memoryview(data)
    kept_from = _after_jfif(data)
    parts = [view[:kept_from], *_new_segments(new)]
    for start, end in _replaced_ranges(data, new, alone=alone):
        parts.append(view[kept_from:start])
        kept_from = end
    return b"".join([*parts, view[kept_from:]])


def read_texts(data: bytes) -> dict[str, str]:
    """Read the texts in EXIF, XMP and comments by their PNG keywords, even from a damaged file.

    A comment, which may be in any encoding, is "Comment"; further ones are "Comment 2" and so on.
    """
    if not data.startswith(SIGNATURE):
        return {}
    comments = (_content(data, start) for marker, start in _segments(data) if marker == _COMMENT)
    texts = metadata_blocks.read_texts(_blocks(data))
    for number, comment in enumerate(islice(comments, _MAX_COMMENTS), start=1):
        texts["Comment" if number == 1 else f"Comment {number}"] = comment_text(comment, "<")
    return texts


def read_packet(data: bytes) -> dict[str, str]:
    """Read only the XMP packet, which is faster than reading all texts; accepts any bytes."""
    return metadata_blocks.packet_text(_blocks(data)) if data.startswith(SIGNATURE) else {}


def has_scan(data: bytes) -> bool:
    """Return whether the first bytes of a JPEG reach its first scan: all metadata comes before it."""
    return any(marker == _SCAN for marker, _ in _segments(data))


def orientation(data: bytes) -> int:
    """Return the EXIF orientation: how a viewer must turn the image; 1 (upright) if there is none."""
    return exif.read(_blocks(data).exif or b"").orientation


def _blocks(data: bytes) -> Blocks:
    found: dict[bytes, bytes] = {}
    for marker, start in _segments(data):
        if marker == _APP1:
            content = _content(data, start)
            for prefix in (exif.PREFIX, _XMP_PREFIX):
                if content.startswith(prefix):
                    found.setdefault(prefix, content.removeprefix(prefix))
    return Blocks(exif=found.get(exif.PREFIX), xmp=found.get(_XMP_PREFIX))


def _content(data: bytes, start: int) -> bytes:
    return data[start + 2 : start + int.from_bytes(data[start : start + 2])]


def _after_jfif(data: bytes) -> int:
    """Return where a leading APP0 segment ends, or else where the start marker ends."""
    marker, start = next(_segments(data), (None, 2))
    return start + int.from_bytes(data[start : start + 2]) if marker == _APP0 else 2


def _new_segments(new: Blocks) -> Iterator[bytes]:
    if new.exif is not None:
        yield _segment(metadata_blocks.KEYWORD, exif.PREFIX + new.exif)
    if new.xmp is not None:
        yield _segment(xmp.KEYWORD, _XMP_PREFIX + new.xmp)


def _segment(keyword: str, content: bytes) -> bytes:
    if len(content) > _MAX_CONTENT_BYTES:
        raise TextTooLong(keyword, len(content), _MAX_CONTENT_BYTES)
    return bytes([_FILL, _APP1]) + (len(content) + 2).to_bytes(2) + content


def _replaced_ranges(data: bytes, new: Blocks, *, alone: bool) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each segment that a new one replaces; `alone`, of each that holds text."""
    prefixes = (exif.PREFIX,) * (new.exif is not None)
    prefixes += (_XMP_PREFIX, _MORE_XMP_PREFIX) * (new.xmp is not None)
    for marker, start in _segments(data):
        foreign = alone and marker in (_APP1, _APP13, _COMMENT)
        if foreign or (marker == _APP1 and _content(data, start).startswith(prefixes)):
            yield start - 2, start + int.from_bytes(data[start : start + 2])


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker up to the first scan, with the offset of its segment."""
    return islice(_all_segments(data), _MAX_SEGMENTS)


def _all_segments(data: bytes) -> Iterator[tuple[int, int]]:
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
