"""Encode images in the server's formats and compression levels, and pack several into a ZIP archive."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vllm_omni_client.simulator.drawing.provenance import KEYWORD, PACKET

_FORMATS = ("png", "jpg", "jpeg", "webp")
_FALLBACK = "jpeg"  # for any other name; the server does not report an error


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """An image format, by the name that the server reports."""

    name: str

    @classmethod
    def choose(cls, requested: str | None) -> "PictureFormat":
        """Choose the format for `output_format`: PNG if it is empty, JPEG if it is unknown."""
        return cls(name=cls.spelling(requested or "png") or _FALLBACK)

    @classmethod
    def spelling(cls, requested: str | None) -> str | None:
        """Return a format's name as the server spells it; None for a format that it does not know."""
        name = (requested or "").lower()
        return name if name in _FORMATS else None

    @property
    def media_type(self) -> str:
        """The content type of one image."""
        return "image/jpeg" if self.name == "jpg" else f"image/{self.name}"

    def encode(self, image: Image.Image, *, output_compression: int) -> bytes:
        """Encode the image.

        Args:
            image: The image.
            output_compression: 0-100: the quality of JPEG and WebP; PNG is uncompressed at 100 and
                smallest at 0.
        """
        buffer = io.BytesIO()
        if self.name == "png":
            level = max(0, min(9, 9 - output_compression // 11))
            image.save(buffer, format="png", compress_level=level, pnginfo=_provenance())
        else:
            kind = "jpeg" if self.name == "jpg" else self.name
            image = image.convert("RGB") if kind == "jpeg" else image
            image.save(buffer, format=kind, quality=output_compression, xmp=PACKET.encode())
        return buffer.getvalue()


def _provenance() -> PngInfo:
    texts = PngInfo()
    texts.add_itxt(KEYWORD, PACKET)
    return texts


def archive(pictures: Sequence[bytes], *, extension: str) -> bytes:
    """Pack several images into a ZIP archive, named image_0, image_1, ..."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for index, picture in enumerate(pictures):
            file.writestr(f"image_{index}.{extension}", picture)
    return buffer.getvalue()
