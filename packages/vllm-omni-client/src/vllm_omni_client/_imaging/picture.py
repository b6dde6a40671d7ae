"""Pictures: the format, the size and the soundness of a picture's bytes, without unpacking a pixel."""

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from vllm_omni_client._imaging.flat_colour import Flatness
from vllm_omni_client._imaging.png import SIGNATURE, DamagedPicture, PngWalk, chunks, png_header

__all__ = [
    "DamagedPicture",
    "Inspected",
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
"""The most pixels that vLLM-Omni makes by default (`--max-generated-image-size`, 0.26.0 and later)."""

# Some models round a size up.
_ROUNDED_UP: Final = 1.1
# As much as is kept until the size of a picture is known: JPEG may have metadata before it.
_START_BYTES: Final = 1024 * 1024
_SNIFFED_BYTES: Final = 64
_END_BYTES: Final = 64
_WEBP: Final = re.compile(rb"RIFF(....)WEBP(VP8 |VP8L|VP8X)", re.DOTALL)
_MARKER: Final = 0xFF
_FRAME_HEADER_BYTES: Final = 9
_JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PictureSize(NamedTuple):
    """Width and height in pixels; its text is "WIDTHxHEIGHT"."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def pixels_of(size: str | None) -> int:
    """Return the pixels of a size such as "1024x768"; 0 for none, and for "auto"."""
    width, _, height = (size or "").partition("x")
    return int(width) * int(height) if height else 0


def most_pixels(size: str | None) -> int:
    """Return the most pixels that a picture may say it has, when so much was asked for."""
    return max(MOST_PIXELS, int(pixels_of(size) * _ROUNDED_UP))


def format_of(data: bytes) -> PictureFormat | None:
    """Return the format that the first bytes tell; None for anything but PNG, JPEG and WebP."""
    start = bytes(data[:_SNIFFED_BYTES])
    if start.startswith(SIGNATURE):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if _WEBP.match(start) else None


def size_of(data: bytes) -> PictureSize:
    """Return the size that the header tells.

    Raises:
        DamagedPicture: There is no header of a PNG, JPEG or WebP.
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
                raise DamagedPicture("got an HTML page where a picture was promised")
            raise DamagedPicture("the bytes are neither PNG nor JPEG nor WebP")


def flat_colour_of(data: bytes) -> str | None:
    """Return the colour, as "#rrggbb", of a whole PNG that has no other; None for all other pictures."""
    if not data.startswith(SIGNATURE):
        return None
    flatness = Flatness(png_header(data[:_SNIFFED_BYTES]))
    for kind, content in chunks(data):
        if not flatness.open:
            break
        if kind == b"IDAT":
            flatness.feed(content)
    return flatness.colour


def _check(size: PictureSize | None) -> PictureSize:
    if size is None or not (size.width and size.height):
        raise DamagedPicture("the picture's header does not tell its size")
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
        if marker == _MARKER:  # fill bytes may stand before a marker
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
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return PictureSize(width, height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A picture whose bytes are all there.

    Attributes:
        format: What its bytes are, whatever was asked for.
        size: As its header tells it.
        length: How many bytes it has.
        flat_colour: The colour, as "#rrggbb", of a PNG that has no other; None for all other pictures.
    """

    format: PictureFormat
    size: PictureSize
    length: int
    flat_colour: str | None = None


class Inspection:
    """A picture that is looked at while its bytes come in, piece by piece.

    A PNG is checked chunk by chunk, with its checksums; of a JPEG or a WebP it is seen that the size is
    told and that the end is there.

    Args:
        most_pixels: A picture that says it is larger is refused before anyone unpacks it.
    """

    def __init__(self, *, most_pixels: int = MOST_PIXELS) -> None:
        self._most_pixels = most_pixels
        self._start = bytearray()
        self._end = b""
        self._length = 0
        self._png: PngWalk | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            DamagedPicture: They cannot belong to a picture.
        """
        self._length += len(data)
        if self._png is not None:
            self._png.feed(data)
            return
        self._start += data[: _START_BYTES - len(self._start)]
        self._end = (self._end + bytes(data[-_END_BYTES:]))[-_END_BYTES:]
        if self._start.startswith(SIGNATURE):
            self._png = PngWalk()
            self._png.feed(data if self._length == len(data) else bytes(self._start))

    def finish(self) -> Inspected:
        """Return what the picture is, when all of it has come.

        Raises:
            DamagedPicture: It is cut off, damaged, too large, or no picture.
        """
        if self._png is not None:
            header = self._png.finish()
            flatness = self._png.flatness
            size = PictureSize(header.width, header.height)
            return self._result("png", size, flat_colour=flatness.colour if flatness else None)
        start = bytes(self._start)
        size, kind = size_of(start), format_of(start)
        whole = self._is_whole_jpeg() if kind == "jpeg" else self._is_whole_webp(start)
        if kind is None or not whole:
            raise DamagedPicture(f"the picture is cut off after {self._length} bytes: its end is missing")
        return self._result(kind, size)

    def _result(self, kind: PictureFormat, size: PictureSize, *, flat_colour: str | None = None) -> Inspected:
        if size.width * size.height > self._most_pixels:
            raise DamagedPicture(f"the picture says that its size is {size}, far more than was asked for")
        return Inspected(format=kind, size=size, length=self._length, flat_colour=flat_colour)

    def _is_whole_jpeg(self) -> bool:
        return self._end.rstrip(b"\0").endswith(b"\xff\xd9")

    def _is_whole_webp(self, start: bytes) -> bool:
        told = 8 + int.from_bytes(start[4:8], "little")
        return self._length in {told, told + told % 2}


def inspect(data: bytes, *, most_pixels: int = MOST_PIXELS) -> Inspected:
    """Look at a whole picture at once.

    Raises:
        DamagedPicture: It is cut off, damaged, too large, or no picture.
    """
    inspection = Inspection(most_pixels=most_pixels)
    inspection.feed(data)
    return inspection.finish()
