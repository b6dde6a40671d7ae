"""A picture into bytes: the formats, compression levels and archives of the server."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vllm_omni_client.simulator.drawing.provenance import KEYWORD, PACKET

_FORMATS = ("png", "jpg", "jpeg", "webp")
_FALLBACK = "jpeg"  # for every other name; the server says nothing about it


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """A format by the name under which the server reports it."""

    name: str

    @classmethod
    def choose(cls, requested: str | None) -> "PictureFormat":
        """The format for `output_format`: PNG where it is empty, JPEG where it is unknown."""
        return cls(name=cls.spelling(requested or "png") or _FALLBACK)

    @classmethod
    def spelling(cls, requested: str | None) -> str | None:
        """The name of a format as the server spells it; None for one that it does not know."""
        name = (requested or "").lower()
        return name if name in _FORMATS else None

    @property
    def media_type(self) -> str:
        """The content type of one picture."""
        return "image/jpeg" if self.name == "jpg" else f"image/{self.name}"

    def encode(self, image: Image.Image, *, output_compression: int) -> bytes:
        """The picture's bytes.

        Args:
            image: The picture.
            output_compression: 0-100: the quality of JPEG and WebP; PNG is stored as it is at 100 and
                packed tightest at 0.
        """
        buffer = io.BytesIO()
        if self.name == "png":
            level = max(0, min(9, 9 - output_compression // 11))
            image.save(buffer, format="png", compress_level=level, pnginfo=_provenance())
        else:
            kind = "jpeg" if self.name == "jpg" else self.name
            image.save(buffer, format=kind, quality=output_compression, xmp=PACKET.encode())
        return buffer.getvalue()


def _provenance() -> PngInfo:
    texts = PngInfo()
    texts.add_itxt(KEYWORD, PACKET)
    return texts


def archive(pictures: Sequence[bytes], *, extension: str) -> bytes:
    """A ZIP of several pictures, named image_0, image_1, ..."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for index, picture in enumerate(pictures):
            file.writestr(f"image_{index}.{extension}", picture)
    return buffer.getvalue()
