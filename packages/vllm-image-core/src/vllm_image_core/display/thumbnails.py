"""Encode small versions of images as data URIs, so that a notebook needs no files to show them."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vllm_image_core.errors import BadPicture, InvalidRequest
from vllm_image_core.files import read_image_file
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import preview

SMALL: Final = 72
"""The longest side of a thumbnail among others, in CSS pixels."""

LARGE: Final = 512
"""The longest side of an image that is shown alone, in CSS pixels."""

_BYTES_PER_SIDE: Final = 160
_DENSITY: Final = 1.5
"""Pixels of the file for each CSS pixel, as many screens are dense."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image to show small.

    Attributes:
        source: The image, or the path of its file.
        alt: What a screen reader says.
    """

    source: Picture | Path
    alt: str
    _uris: dict[int, str | None] = field(default_factory=dict[int, "str | None"], compare=False, repr=False)

    def uri(self, side: int) -> str | None:
        """Return the image as `data_uri` does; it is encoded once for each side."""
        if side not in self._uris:
            self._uris[side] = data_uri(self.source, side)
        return self._uris[side]


def data_uri(source: Picture | Path, side: int) -> str | None:
    """Return a small WebP as a data URI; None if the image cannot be read any more. Blocks on the disk."""
    try:
        picture = source if isinstance(source, Picture) else Picture.check_file(_read(source))
        pixels = round(side * _DENSITY)
        small = preview(picture, longest_side=pixels, max_bytes=pixels * _BYTES_PER_SIDE)
    except (BadPicture, InvalidRequest):
        return None
    return f"data:image/webp;base64,{base64.b64encode(small.bytes).decode()}"


def _read(path: Path) -> bytes:
    return read_image_file(path, BadPicture)
