"""Check a PNG file chunk by chunk as its bytes arrive, without decoding a pixel.

Source: PNG (Third Edition), W3C Recommendation of 24 June 2025, sections 5, 11 and 13.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from vllm_omni_client._imaging.flat_colour import FlatColourDetector

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_HEAD: Final = struct.Struct(">I4s")
_SUM_BYTES: Final = 4
_IHDR: Final = struct.Struct(">IIBBBBB")
_MAX_SIDE: Final = 2**31 - 1
# libpng splits the largest image that vLLM-Omni generates into about 17,000 chunks of 8 KiB.
_MAX_CHUNKS: Final = 65_536
# Deflate never compresses more than this many bytes into one.
_MAX_DEFLATE_RATIO: Final = 1032
_PALETTE: Final = 3
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

_Step = Literal["signature", "head", "content", "checksum", "after"]


class DamagedPicture(ValueError):
    """The bytes are not a complete image; the message says what is wrong."""


class PngHeader(NamedTuple):
    """The contents of IHDR: the size in pixels, bits per sample, colour type and interlacing."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool = False

    @property
    def samples(self) -> int:
        """Samples per pixel."""
        return _SAMPLES[self.colour]

    @property
    def pixel_bytes(self) -> int:
        """The least number of bytes that the decoded pixels can have."""
        return self.height * ((self.width * self.depth * self.samples + 7) // 8)


def png_header(start: bytes) -> PngHeader:
    """Return the header of a PNG from its first 29 bytes or more.

    Raises:
        DamagedPicture: They are not the beginning of a PNG.
    """
    if len(start) < len(SIGNATURE) + _HEAD.size + _IHDR.size:
        raise DamagedPicture(f"the PNG is cut off after {len(start)} bytes, within its header")
    if not start.startswith(SIGNATURE) or _HEAD.unpack_from(start, 8) != (_IHDR.size, b"IHDR"):
        raise DamagedPicture("the PNG does not begin with a header")
    return _header(start[16:29])


def _header(content: bytes) -> PngHeader:
    width, height, depth, colour, packing, filtering, interlacing = _IHDR.unpack(content)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise DamagedPicture(f"the PNG claims a size of {width}x{height}")
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlacing > 1:
        raise DamagedPicture("the PNG's header has invalid values")
    return PngHeader(width, height, depth, colour, bool(interlacing))


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and content of each chunk of a PNG that is known to be complete."""
    view, position = memoryview(data), len(SIGNATURE)
    while position + _HEAD.size <= len(view):
        length, kind = _HEAD.unpack_from(view, position)
        position += _HEAD.size
        yield kind, view[position : position + length]
        position += length + _SUM_BYTES


class PngWalk:
    """The walk over a PNG's chunks: each with its checksum, in order, up to IEND and nothing after it.

    Feed it the file in pieces of any length, then ask it to `finish`. Bytes that cannot belong to a PNG, or
    end too early, are a `DamagedPicture`.

    Attributes:
        header: The contents of IHDR, once it has been read.
        flatness: Whether the image has only one colour, as far as it has been read.
        trailing: Number of spaces and zero bytes after the image's end.
    """

    def __init__(self) -> None:
        self.header: PngHeader | None = None
        self.flatness: FlatColourDetector | None = None
        self._step: _Step = "signature"
        self._piece = bytearray()
        self._wanted = len(SIGNATURE)
        self._kind = b""
        self._kinds: list[bytes] = []
        self._checksum = 0
        self._content_left = 0
        self._pixel_bytes = 0
        self._seen = 0
        self._sum = bytearray()
        self.trailing: int = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        view = memoryview(data)
        self._seen += len(view)
        while view:
            view = self._content(view) if self._step == "content" else self._gather(view)

    def finish(self) -> PngHeader:
        """Return the header of a complete file."""
        if self._step != "after" or self.header is None:
            raise DamagedPicture(f"the PNG is cut off after {self._seen} bytes: its end is missing")
        if b"IDAT" not in self._kinds:
            raise DamagedPicture("the PNG has no image data")
        if self._pixel_bytes * _MAX_DEFLATE_RATIO < self.header.pixel_bytes:
            raise DamagedPicture(
                f"the PNG's {self._pixel_bytes} bytes of image data are too few for"
                f" {self.header.width}x{self.header.height} pixels"
            )
        return self.header

    def _content(self, view: memoryview) -> memoryview:
        part, rest = view[: self._content_left], view[self._content_left :]
        self._checksum = zlib.crc32(part, self._checksum)
        self._content_left -= len(part)
        if self._kind == b"IHDR":
            self._piece += part
        elif self._kind == b"IDAT" and self.flatness is not None:
            self.flatness.feed(part)
        if not self._content_left:
            self._expect("checksum", _SUM_BYTES)
        return rest

    def _gather(self, view: memoryview) -> memoryview:
        """Collect a piece of known length, then read it."""
        if self._step == "after":
            if bytes(view).strip(b"\0 \t\r\n"):
                raise DamagedPicture("extra bytes follow the PNG's end")
            self.trailing += len(view)
            return view[:0]
        start = self._piece if self._step != "checksum" else self._sum
        taken = view[: self._wanted]
        start += taken
        self._wanted -= len(taken)
        if not self._wanted:
            self._read_piece()
        return view[len(taken) :]

    def _read_piece(self) -> None:
        match self._step:
            case "signature":
                if not self._piece.startswith(SIGNATURE):
                    raise DamagedPicture("the PNG does not begin with its signature")
                self._expect("head", _HEAD.size)
            case "head":
                self._begin_chunk(*_HEAD.unpack(self._piece))
            case _:
                self._end_chunk()

    def _begin_chunk(self, length: int, kind: bytes) -> None:
        if not kind.isalpha() or length > _MAX_SIDE or len(self._kinds) >= _MAX_CHUNKS:
            raise DamagedPicture(f"the PNG is damaged after {self._seen} bytes: no chunk begins there")
        self._check_order(kind, length)
        self._kind = kind
        self._kinds.append(kind)
        self._pixel_bytes += length if kind == b"IDAT" else 0
        self._checksum = zlib.crc32(kind)
        self._content_left = length
        self._expect("content" if length else "checksum", _SUM_BYTES)

    def _check_order(self, kind: bytes, length: int) -> None:
        if (kind == b"IHDR") == bool(self._kinds) or (kind == b"IHDR" and length != _IHDR.size):
            raise DamagedPicture("the PNG does not begin with one header")
        if kind == b"IDAT" and b"IDAT" in self._kinds and self._kinds[-1] != b"IDAT":
            raise DamagedPicture("another chunk interrupts the PNG's image data")
        if kind == b"IDAT" and self.header and self.header.colour == _PALETTE and b"PLTE" not in self._kinds:
            raise DamagedPicture("the PNG has no palette for its colours")
        if kind == b"IEND" and length:
            raise DamagedPicture("the PNG's end has content")

    def _end_chunk(self) -> None:
        if int.from_bytes(self._sum) != self._checksum:
            name = self._kind.decode("ascii", "replace")
            raise DamagedPicture(f"the PNG is damaged: the checksum of its {name} chunk is wrong")
        if self._kind == b"IHDR":
            self.header = _header(bytes(self._piece))
            self.flatness = FlatColourDetector(self.header)
        self._expect("after" if self._kind == b"IEND" else "head", _HEAD.size)

    def _expect(self, step: _Step, length: int) -> None:
        """Prepare for the next piece; the contents of IHDR are kept until its checksum has been compared."""
        self._sum = bytearray()
        self._wanted = length
        if step in {"head", "content"}:
            self._piece = bytearray()
        self._step = step
