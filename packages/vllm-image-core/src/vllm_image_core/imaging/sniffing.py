"""Recognise what a file is by its first bytes, and read the size of an image from its header."""

import codecs

from vllm_omni_client.imaging import SIGNATURE, DamagedPicture, PictureFormat, size_of

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import jpeg, webp
from vllm_image_core.imaging.size import Size
from vllm_image_core.text import one_line

_OTHERS = {
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip-compressed data",
    b"8BPS": "a Photoshop document",
    b"\x89PNG": "a damaged PNG",
}
_SHOWN_BYTES = 16
_SHOWN_CHARACTERS = 80


def picture_format(data: bytes) -> PictureFormat | None:
    """Return the format that the first bytes show; None if they are not those of a PNG, JPEG or WebP."""
    if data.startswith(SIGNATURE):
        return "png"
    if data.startswith(jpeg.SIGNATURE):
        return "jpeg"
    return "webp" if webp.is_webp(data) else None


def picture_size(data: bytes) -> Size:
    """Return the size of an image from its header, without decoding a pixel.

    Raises:
        BadPicture: There is no header with a size.
    """
    try:
        return Size(*size_of(data))
    except DamagedPicture as error:
        raise BadPicture(f"The image's {len(data)} bytes do not contain its size: {error}.") from error


def describe(data: bytes) -> str:
    """Describe bytes that are not an image in a few printable words: "JSON (20 bytes): '{"error": ...'"."""
    if not data:
        return "nothing (0 bytes)"
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return f"{name} ({len(data)} bytes)"
    if data[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"):
        return f"an AVIF or HEIC image ({len(data)} bytes)"
    return _describe_text(data) or f"{len(data)} bytes that begin with {data[:_SHOWN_BYTES].hex(' ')}"


def kind_of(data: bytes) -> str:
    """Describe bytes that are not an image without quoting them, since a file may hold a secret."""
    kind, named, _ = describe(data).partition(" (")
    return kind if named else "something else"


def _describe_text(data: bytes) -> str | None:
    """Describe text, which is valid UTF-8 without zero bytes; None for other data."""
    head = data[: 4 * _SHOWN_CHARACTERS]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    start = text.lstrip("\ufeff \t\r\n")
    kind = "text"
    if start.lower().startswith(("<!doctype html", "<html", "<head", "<body")):
        kind = "an HTML page"
    elif start.startswith(("{", "[")):
        kind = "JSON"
    return f"{kind} ({len(data)} bytes): '{one_line(start, limit=_SHOWN_CHARACTERS)}'"
