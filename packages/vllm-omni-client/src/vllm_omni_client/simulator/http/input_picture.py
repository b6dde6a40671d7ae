"""The pictures that a request brings: uploads and data URLs. The simulator never fetches an address."""

import base64
import binascii
import io
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile

from vllm_omni_client.simulator.http.remote_image import why_unreachable

Source = UploadFile | str
_ONE_TOO_MANY = "cannot be 1 more than a multiple of 4"
UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


async def open_images(sources: Sequence[Source]) -> tuple[Image.Image, ...]:
    """The pictures, of which only the heads have been read.

    Raises:
        ValueError: One is no picture, in the server's words, for a reply of 400.
    """
    return tuple([await _open(source) for source in sources])


async def _open(source: Source) -> Image.Image:
    if isinstance(source, UploadFile):
        content, complaint = await source.read(), "Failed to open uploaded file"
    elif source.startswith("data:image"):
        content, complaint = _decode(source), "Invalid base64 image"
    elif source.startswith("http"):
        raise ValueError(f"Failed to download image from URL {source}: {why_unreachable(source)}")
    else:
        raise ValueError(f"Unsupported input: {source}")
    try:
        return Image.open(io.BytesIO(content))
    except UNREADABLE as error:
        raise ValueError(f"{complaint}: {error}") from error


def _decode(address: str) -> bytes:
    """The content of a data URL, as leniently as the server decodes it."""
    _, comma, text = address.partition(",")
    if not comma:
        raise ValueError("Invalid base64 image: not enough values to unpack (expected 2, got 1)")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        # The server decodes with pybase64, which has another message for a single character too many.
        shown = "Invalid number of data characters" if _ONE_TOO_MANY in str(error) else str(error)
        raise ValueError(f"Invalid base64 image: {shown}") from error
