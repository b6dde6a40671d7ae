"""Check the format, size and integrity of an image's bytes without decoding a pixel."""

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from vllm_omni_client._imaging.flat_colour import FlatColourDetector
from vllm_omni_client._imaging.png import SIGNATURE, DamagedPicture, PngWalk, chunks, png_header

__all__ = [
    "DamagedPicture",
    "InspectedImage",
    "Inspection",
    "PictureFormat",
    "PictureSize",
    "flat_colour_of",
    "format_of",
    "most_pixels",
    "pixels_of",
    "size_of",
]

PictureFormat = Literal["png", "jpeg", "webp"]

MOST_PIXELS: Final = 7680 * 4320
"""The most pixels vLLM-Omni generates by default (`--max-generated-image-size`, 0.26.0 and later)."""

# Some models round a size up.
_ROUNDED_UP: Final = 1.1
# Bytes kept until the size of an image is known: a JPEG may have metadata before it.
_START_BYTES: Final = 1024 * 1024
_SNIFFED_BYTES: Final = 64
_END_BYTES: Final = 64
_WEBP: Final = re.compile(rb"RIFF(....)WEBP(VP8 |VP8L|VP8X)", re.DOTALL)
_LOSSY_START: Final = b"\x9d\x01\x2a"
_LOSSLESS_START: Final = 0x2F
_MARKER: Final = 0xFF
_FRAME_HEADER_BYTES: Final = 9
_JPEG_SCAN: Final = 0xDA
_JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PictureSize(NamedTuple):
    """Width and height in pixels; `str()` gives "WIDTHxHEIGHT"."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def pixels_of(size: str | None) -> int:
    """Return the number of pixels of a size such as "1024x768"; 0 for None and "auto"."""
    width, _, height = (size or "").partition("x")
    return int(width) * int(height) if height else 0


def most_pixels(size: str | None) -> int:
    """Return the most pixels that an image may claim to have if `size` was requested."""
    return max(MOST_PIXELS, int(pixels_of(size) * _ROUNDED_UP))


def format_of(data: bytes) -> PictureFormat | None:
    """Return the format from the first bytes; None for anything but PNG, JPEG and WebP."""
    start = bytes(data[:_SNIFFED_BYTES])
    if start.startswith(SIGNATURE):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if _WEBP.match(start) else None


def size_of(data: bytes) -> PictureSize:
    """Return the size from the header.

    Raises:
        DamagedPicture: There is no PNG, JPEG or WebP header.
    """
    match format_of(data):
        case "png":
            header = png_header(data[:_SNIFFED_BYTES])
            return PictureSize(header.width, header.height)
        case "jpeg":
            return _check(_jpeg_size(data))
        case "webp":
            return _check(_webp_size(data))
        case None:
            if data.lstrip()[:1] == b"<":
                raise DamagedPicture("got an HTML page instead of an image")
            raise DamagedPicture("the bytes are not a PNG, JPEG or WebP")


def flat_colour_of(data: bytes) -> str | None:
    """Return the colour ("#rrggbb") of a complete PNG that has only one; None for every other image."""
    if not data.startswith(SIGNATURE):
        return None
    flatness = FlatColourDetector(png_header(data[:_SNIFFED_BYTES]))
    for kind, content in chunks(data):
        if not flatness.open:
            break
        if kind == b"IDAT":
            flatness.feed(content)
    return flatness.colour


def _check(size: PictureSize | None) -> PictureSize:
    if size is None or not (size.width and size.height):
        raise DamagedPicture("the image's header has no size")
    return size


def _jpeg_size(data: bytes) -> PictureSize | None:
    """Walk the segments up to the frame header (ITU-T T.81, B.2.2)."""
    position = 2
    while position + _FRAME_HEADER_BYTES <= len(data):
        marker = data[position + 1]
        if data[position] != _MARKER:
            return None
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return PictureSize(width, height)
        if marker == _JPEG_SCAN:
            return None
        if marker == _MARKER:  # fill bytes may precede a marker
            position += 1
        elif marker in _JPEG_STANDALONE:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def _webp_size(data: bytes) -> PictureSize | None:
    """Read one of the three kinds of header (RFC 9649, 2.5 to 2.7)."""
    if len(data) < 30:  # noqa: PLR2004  # the longest of them
        return None
    match bytes(data[12:16]):
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        case b"VP8L" if data[20] == _LOSSLESS_START:
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if data[23:26] == _LOSSY_START:
            width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        case _:
            return None
    return PictureSize(width, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedImage:
    """A complete image.

    The format and size are those of its bytes, whatever was requested.

    Attributes:
        format: The format.
        size: Width and height in pixels, from its header.
        length: All bytes, including `trailing` ones.
        flat_colour: The only colour of a PNG that has just one.
        flatness_checked: Whether `flat_colour` says anything; not so for most formats but plain PNG.
        trailing: Spaces and zero bytes after the end of a PNG.
    """

    format: PictureFormat
    size: PictureSize
    length: int
    flat_colour: str | None = None
    flatness_checked: bool = field(default=False, compare=False)
    trailing: int = field(default=0, compare=False)


class Inspection:
    """Inspects an image as its bytes arrive, piece by piece.

    A PNG is checked chunk by chunk, including its checksums. A JPEG or a WebP must have a size and an end.
    What cannot be an image, or is cut off, damaged or too large, is a `DamagedPicture`.

    Args:
        most_pixels: An image that claims to be larger is refused before anyone decodes it.
    """

    def __init__(self, *, most_pixels: int = MOST_PIXELS) -> None:
        self._most_pixels = most_pixels
        self._start = bytearray()
        self._end = b""
        self._length = 0
        self._png: PngWalk | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._length += len(data)
        if self._png is not None:
            self._png.feed(data)
            return
        self._start += data[: _START_BYTES - len(self._start)]
        self._end = (self._end + bytes(data[-_END_BYTES:]))[-_END_BYTES:]
        if self._start.startswith(SIGNATURE):
            self._png = PngWalk()
            self._png.feed(data if self._length == len(data) else bytes(self._start))

    def finish(self) -> InspectedImage:
        """Return the result, after the last bytes."""
        if self._png is not None:
            header = self._png.finish()
            flatness = self._png.flatness
            size = PictureSize(header.width, header.height)
            return replace(
                self._result("png", size),
                flat_colour=flatness.colour if flatness else None,
                flatness_checked=flatness is not None and flatness.checks,
                trailing=self._png.trailing,
            )
        start = bytes(self._start)
        size, kind = size_of(start), format_of(start)
        if kind == "jpeg":
            complete = self._end.rstrip(b"\0").endswith(b"\xff\xd9")
        else:
            declared = 8 + int.from_bytes(start[4:8], "little")
            complete = self._length in {declared, declared + declared % 2}
        if kind is None or not complete:
            raise DamagedPicture(f"the image is cut off after {self._length} bytes: its end is missing")
        return self._result(kind, size)

    def _result(self, kind: PictureFormat, size: PictureSize) -> InspectedImage:
        if size.width * size.height > self._most_pixels:
            raise DamagedPicture(f"the image claims a size of {size}, far more than was requested")
        return InspectedImage(format=kind, size=size, length=self._length)


def inspect(data: bytes, *, most_pixels: int = MOST_PIXELS) -> InspectedImage:
    """Inspect a complete image at once; raises what `Inspection` raises."""
    inspection = Inspection(most_pixels=most_pixels)
    inspection.feed(data)
    return inspection.finish()
