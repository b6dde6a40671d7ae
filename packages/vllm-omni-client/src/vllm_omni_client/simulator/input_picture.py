"""The pictures that a request brings: uploads and data URLs. The simulator never fetches an address."""

import base64
import binascii
import io
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile

Source = UploadFile | str
UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


async def opened(sources: Sequence[Source]) -> tuple[Image.Image, ...]:
    """The pictures, of which only the heads have been read.

    Raises:
        ValueError: One is no picture, in the server's words, for a reply of 400.
    """
    return tuple([await _opened(source) for source in sources])


async def _opened(source: Source) -> Image.Image:
    if isinstance(source, UploadFile):
        content, complaint = await source.read(), "Failed to open uploaded file"
    elif source.startswith("data:image"):
        content, complaint = _decoded(source), "Invalid base64 image"
    elif source.startswith("http") and not urlsplit(source).hostname:
        raise ValueError(
            f"Failed to download image from URL {source}: "
            "Request URL is missing an 'http://' or 'https://' protocol."
        )
    elif source.startswith("http"):
        raise ValueError(f"Failed to download image from URL {source}: {_unreachable(source)}")
    else:
        raise ValueError(f"Unsupported input: {source}")
    try:
        return Image.open(io.BytesIO(content))
    except UNREADABLE as error:
        raise ValueError(f"{complaint}: {error}") from error


def _unreachable(address: str) -> str:
    """Why the server, without a network, cannot fetch an address: there is no such name, or nobody there."""
    host = urlsplit(address).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        named = host != "localhost"
        return "[Errno -2] Name or service not known" if named else "All connection attempts failed"
    return "All connection attempts failed"


def _decoded(address: str) -> bytes:
    """The content of a data URL, as leniently as the server decodes it."""
    _, comma, text = address.partition(",")
    if not comma:
        raise ValueError("Invalid base64 image: not enough values to unpack (expected 2, got 1)")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"Invalid base64 image: {error}") from error
