"""Check that bytes are a complete PNG, JPEG or WebP, and hold them as a Picture."""

import builtins
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from vllm_omni_client.imaging import InspectedImage, PictureFormat

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg, png, webp
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import describe, kind_of, picture_format, picture_size
from vllm_image_core.text import one_line

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 36_495_360
"""1.1 times the most that vLLM-Omni 0.30.0 generates, 7680x4320 (its `--max-generated-image-size`)."""

_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Pillow's operation that turns an image upright, by its EXIF orientation; 1 is upright."""

_SHOWN_SIDE: Final = 1024
_SHOWN_BYTES: Final = 262_144
"""An image up to this size is shown in a notebook as it is."""

_WALKERS = {"png": png, "jpeg": jpeg, "webp": webp}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A complete image, encoded; created by `Picture.check`.

    Attributes:
        parts: The file's content, in one or more parts that are joined only when `bytes` is asked for.
        format: The format of the bytes, whatever was requested.
        width: Pixels.
        height: Pixels.
    """

    parts: tuple[builtins.bytes | memoryview, ...] = field(repr=False, compare=False)
    format: PictureFormat
    width: int
    height: int

    @classmethod
    def check(
        cls,
        data: builtins.bytes,
        *,
        max_pixels: int = MAX_PIXELS,
        inspection: InspectedImage | None = None,
    ) -> Self:
        """Check bytes from an untrusted source and return the image in them.

        The size is read from the header and compared with the limit before anything is decoded. Then the
        file's structure is checked to its end (in a PNG, every checksum) without decoding a pixel. Spaces and
        zero bytes after the end are dropped. A PNG of 1024x1024 takes less than a millisecond; one that the
        client has checked as it arrived, given its `inspection`, is not checked again.

        Raises:
            BadPicture: The bytes are something else, cut off or damaged, or the image has too many pixels.
        """
        kind = picture_format(data)
        if kind is None:
            raise BadPicture(f"Expected a PNG, JPEG or WebP image, but got {describe(data)}.")
        walker = _WALKERS[kind]
        size = picture_size(data)
        if size.pixels > max_pixels:
            raise BadPicture(
                f"The image's header gives its size as {size}; at most {max_pixels} pixels are accepted."
            )
        is_checked = kind == "png" and inspection is not None and inspection.length == len(data)
        length = len(data) - inspection.trailing if inspection and is_checked else walker.check(data)
        picture = cls(parts=(data[:length],), format=kind, width=size.width, height=size.height)
        if kind != "png":
            picture._verify()  # for these two formats, Pillow checks more than the walker does
        return picture

    @classmethod
    def check_file(cls, data: builtins.bytes) -> Self:
        """Check a file's content as `check` does, without quoting it in errors: it may hold a secret."""
        if picture_format(data) is None:
            raise BadPicture(f"The file is not a PNG, JPEG or WebP image; it is {kind_of(data)}.")
        return cls.check(data)

    def __eq__(self, other: object) -> bool:
        """Compare the files' content."""
        return self.bytes == other.bytes if isinstance(other, Picture) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.bytes)

    @property
    def bytes(self) -> builtins.bytes:
        """The file's content."""
        whole, *more = self.parts
        if more or isinstance(whole, memoryview):
            whole = b"".join(self.parts)
            object.__setattr__(self, "parts", (whole,))  # the parts are no longer needed
        return whole

    @property
    def length(self) -> int:
        """The size of the file in bytes."""
        return sum(map(len, self.parts))

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @property
    def extension(self) -> str:
        """The file extension of this format: "png", "jpg" or "webp"."""
        return "jpg" if self.format == "jpeg" else self.format

    @property
    def orientation(self) -> int:
        """The EXIF orientation: 1 is upright, 2 to 8 are turned or mirrored."""
        return _WALKERS[self.format].orientation(self.bytes)

    def pil(self) -> "Image.Image":
        """Decode the pixels as they are stored into a new Pillow image, without the file's texts.

        Raises:
            BadPicture: The pixels cannot be decoded.
        """
        image = self._open()
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise BadPicture(
                f"The {self.format.upper()} cannot be decoded: {one_line(str(error))}."
            ) from error
        return image

    def upright(self) -> "Image.Image":
        """Decode the pixels as a viewer shows them, turned as EXIF says; otherwise like `pil`."""
        from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

        image, turn = self.pil(), _TURNS.get(self.orientation)
        return image if turn is None else image.transpose(Image.Transpose[turn])

    def _verify(self) -> None:
        image = self._open()
        try:
            image.verify()
        except (OSError, SyntaxError, ValueError) as error:
            raise BadPicture(f"The {self.format.upper()} is damaged: {one_line(str(error))}.") from error
        if image.size != (self.width, self.height):
            raise BadPicture(f"The {self.format.upper()} has two sizes: {self.size} and {Size(*image.size)}.")

    def _open(self) -> "Image.Image":
        """Open in Pillow without texts and EXIF: if they are damaged, Pillow warns or fails unpredictably."""
        from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

        bare = _WALKERS[self.format].write_texts(self.bytes, {}, alone=True)
        try:
            return Image.open(io.BytesIO(bare), formats=(self.format.upper(),))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise BadPicture(f"The {self.format.upper()} cannot be read by Pillow.") from error

    def _repr_png_(self) -> builtins.bytes | None:
        """Return a small PNG as it is for a notebook to show."""
        return self.bytes if self.format == "png" and self._is_small else None

    def _repr_jpeg_(self) -> builtins.bytes | None:
        """Return a JPEG for a notebook to show, reduced so that the notebook's own file stays small."""
        if self._is_small and self.format != "webp":
            return self.bytes if self.format == "jpeg" else None
        from vllm_image_core.imaging.preview import preview  # noqa: PLC0415 - draws pictures, so it imports this

        try:
            shown = preview(self, longest_side=_SHOWN_SIDE, max_bytes=_SHOWN_BYTES, format="jpeg")
        except BadPicture:
            return None
        return shown.bytes

    @property
    def _is_small(self) -> bool:
        return len(self.bytes) <= _SHOWN_BYTES and max(self.width, self.height) <= _SHOWN_SIDE


def write_text(picture: Picture, texts: Mapping[str, str], *, alone: bool = False) -> Picture:
    """Write texts into an image's file, by keyword, without encoding a pixel again.

    In a PNG they come right after the header, in tEXt or iTXt chunks. JPEG and WebP accept two: "parameters",
    as EXIF's UserComment, and "XML:com.adobe.xmp", an XMP packet. A text replaces an earlier one with the
    same keyword; every other byte is kept. `alone` also removes all other texts; the orientation of a JPEG or
    WebP is kept. Other keywords are a ValueError; a TextTooLong is longer than the 1 MiB a PNG can hold, or
    the 64 KiB a JPEG can hold.
    """
    if not texts and not alone:
        return picture
    if picture.format == "png":
        return replace(picture, parts=png.splice_texts(picture.bytes, texts, alone=alone))
    return replace(picture, parts=(_WALKERS[picture.format].write_texts(picture.bytes, texts, alone=alone),))


def read_text(data: bytes) -> dict[str, str]:
    """Read the texts in an image's file by keyword; in JPEG and WebP from EXIF and XMP, as in `write_text`.

    Accepts any bytes, and returns at most 64 texts of at most 1 MiB each, without damaged ones. Others wrote
    them: treat them as data and check them before use.
    """
    kind = picture_format(data)
    return {} if kind is None else _WALKERS[kind].read_texts(data)
