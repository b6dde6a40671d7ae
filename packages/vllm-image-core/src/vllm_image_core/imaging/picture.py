"""A picture: bytes that were checked to be a whole PNG, JPEG or WebP."""

import builtins
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg, png, webp
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.sniffing import PictureFormat, describe, kind_of, picture_format
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
"""How Pillow turns a picture upright that lies as EXIF's orientation says; 1 is upright."""

_WALKERS = {"png": png, "jpeg": jpeg, "webp": webp}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole picture, encoded. Made by `Picture.check`.

    Attributes:
        bytes: The file's content.
        format: What the bytes are, whatever was asked for.
        width: Pixels.
        height: Pixels.
    """

    bytes: builtins.bytes = field(repr=False)
    format: PictureFormat
    width: int
    height: int

    @classmethod
    def check(cls, data: builtins.bytes, *, max_pixels: int = MAX_PIXELS) -> Self:
        """The picture in some bytes that came from outside.

        The size is read from the header and compared with the limit before anything is decoded; then the
        file is walked to its end (PNG with every checksum), without decoding a pixel. Spaces and zero bytes
        after the end are dropped. A PNG of 1024x1024 takes less than a millisecond.

        Raises:
            BadPicture: The bytes are something else, cut off, damaged, or a picture of too many pixels.
        """
        kind = picture_format(data)
        if kind is None:
            raise BadPicture(f"Expected a PNG, JPEG or WebP picture, and got {describe(data)}.")
        walker = _WALKERS[kind]
        size = walker.size(data)
        if size.pixels > max_pixels:
            raise BadPicture(
                f"The picture says that its size is {size}; at most {max_pixels} pixels are taken."
            )
        picture = cls(bytes=data[: walker.check(data)], format=kind, width=size.width, height=size.height)
        if kind != "png":
            picture._verify()  # Pillow knows more of these two than the walk does
        return picture

    @classmethod
    def check_file(cls, data: builtins.bytes) -> Self:
        """The picture in a file's content: as `check`, but no error quotes the file, which may hold a secret.

        Raises:
            BadPicture: As `check`.
        """
        if picture_format(data) is None:
            raise BadPicture(f"The file is not a PNG, JPEG or WebP image; it is {kind_of(data)}.")
        return cls.check(data)

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @property
    def extension(self) -> str:
        """What a file of this format is called: "png", "jpg" or "webp"."""
        return "jpg" if self.format == "jpeg" else self.format

    @property
    def orientation(self) -> int:
        """How it lies in its file, by EXIF: 1 is upright, 2 to 8 are turned or mirrored."""
        return _WALKERS[self.format].orientation(self.bytes)

    def pil(self) -> "Image.Image":
        """The pixels as they lie in the file, as a Pillow image of its own, without the file's texts.

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
        """The pixels as a viewer shows them, turned as EXIF says; else as `pil`.

        Raises:
            BadPicture: The pixels cannot be decoded.
        """
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
        """In Pillow, without texts and EXIF: of damaged ones it warns, or fails in ways of its own."""
        from PIL import Image  # noqa: PLC0415 - starting must not wait for Pillow

        bare = _WALKERS[self.format].with_texts(self.bytes, {}, alone=True)
        try:
            return Image.open(io.BytesIO(bare), formats=(self.format.upper(),))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise BadPicture(f"The {self.format.upper()} cannot be read by Pillow.") from error

    def _repr_png_(self) -> builtins.bytes | None:
        """What a notebook shows; a WebP is shown as a PNG, since notebooks know no WebP."""
        if self.format == "jpeg":
            return None
        return self.bytes if self.format == "png" else _as_png(self.pil())

    def _repr_jpeg_(self) -> builtins.bytes | None:
        return self.bytes if self.format == "jpeg" else None


def with_text(picture: Picture, texts: Mapping[str, str], *, alone: bool = False) -> Picture:
    """The picture with texts in its file, by keyword; no pixel is encoded again.

    In a PNG they stand right after the header, in tEXt or iTXt chunks. JPEG and WebP take two:
    "parameters", as EXIF's UserComment, and "XML:com.adobe.xmp", a packet of XMP. A text replaces a former
    one of the same keyword; every other byte stays.

    Args:
        picture: Any checked picture.
        texts: By keyword.
        alone: Whether all other texts are removed; how a JPEG or WebP is turned is kept.

    Raises:
        ValueError: The format has no place for a keyword.
        TextTooLong: A text is longer than the 1 MiB of a PNG or the 64 KiB of a JPEG.
    """
    if not texts and not alone:
        return picture
    return replace(picture, bytes=_WALKERS[picture.format].with_texts(picture.bytes, texts, alone=alone))


def read_text(data: bytes) -> dict[str, str]:
    """The texts in a picture's file by keyword; in JPEG and WebP those of EXIF and XMP, as `with_text`.

    For any bytes at all: at most 64 texts of at most 1 MiB each, damaged ones left out. Others wrote
    them: they are data, to be checked before use.
    """
    kind = picture_format(data)
    return {} if kind is None else _WALKERS[kind].read_texts(data)


def _as_png(image: "Image.Image") -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
