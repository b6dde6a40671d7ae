"""What the first bytes of something say that it is."""

import codecs
from typing import Literal

from vllm_image_core.imaging import jpeg, png, webp
from vllm_image_core.text import one_line

PictureFormat = Literal["png", "jpeg", "webp"]

_OTHERS = {
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip-compressed data",
    b"8BPS": "a Photoshop document",
    b"\x89PNG": "a damaged PNG",
}
_SHOWN_BYTES = 16
_SHOWN_CHARACTERS = 80


def picture_format(data: bytes) -> PictureFormat | None:
    """The format that the first bytes tell; None where they are those of no PNG, JPEG or WebP."""
    if data.startswith(png.SIGNATURE):
        return "png"
    if data.startswith(jpeg.SIGNATURE):
        return "jpeg"
    return "webp" if webp.is_webp(data) else None


def describe(data: bytes) -> str:
    """What some bytes that are no picture are, in a few printable words: "an HTML page: '<html>...'"."""
    if not data:
        return "nothing (0 bytes)"
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return f"{name} ({len(data)} bytes)"
    if data[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"):
        return f"an AVIF or HEIC picture ({len(data)} bytes)"
    return _describe_text(data) or f"{len(data)} bytes that begin with {data[:_SHOWN_BYTES].hex(' ')}"


def kind_of(data: bytes) -> str:
    """What some bytes that are not a picture are, without quoting them: a file may hold a secret."""
    kind, named, _ = describe(data).partition(" (")
    return kind if named else "something else"


def _describe_text(data: bytes) -> str | None:
    """The same for text, which has no zero byte and is valid UTF-8; None for other data."""
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
