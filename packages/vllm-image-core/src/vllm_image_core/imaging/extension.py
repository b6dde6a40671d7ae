"""Recognise the image format from a file name's extension."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_omni_client.imaging import PictureFormat

FORMATS: Final["Mapping[str, PictureFormat]"] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
"""The formats of images by the extensions of their files, in lower case."""

_OTHER_IMAGES: Final = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".heic", ".ico", ".jfif", ".jxl"),
        *(".pdf", ".psd", ".svg", ".tga", ".tif", ".tiff"),
    }
)


def extension_format(filename: object) -> "tuple[str, PictureFormat | None] | None":
    """Return the image extension of a file name, with its dot, and the format it stands for.

    None if the name has no image extension; the format is None for one that is not generated here, such as
    ".tiff".
    """
    extension = PurePath(filename.strip()).suffix if isinstance(filename, str) else ""
    if extension.lower() in FORMATS:
        return extension, FORMATS[extension.lower()]
    return (extension, None) if extension.lower() in _OTHER_IMAGES else None
