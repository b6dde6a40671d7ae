"""Open the input images of a request, from uploads or data URLs; no other URL is ever fetched."""

import base64
import io
import re
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile

from vllm_omni_client.simulator.http.remote_image import fetch_error

Source = UploadFile | str
_NO_DIGITS = re.compile("[^A-Za-z0-9+/]+")
UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


async def open_images(sources: Sequence[Source], *, load: bool = False) -> tuple[Image.Image, ...]:
    """Open the images, reading only their headers unless `load`.

    Raises:
        ValueError: One is not an image; the message is the server's, and the reply is 400.
        OSError: One is truncated or broken, which `load` finds; the reply is 500.
    """
    images = tuple([await _open(source) for source in sources])
    for image in images if load else ():
        image.load()
    return images


async def _open(source: Source) -> Image.Image:
    if isinstance(source, UploadFile):
        content, complaint = await source.read(), "Failed to open uploaded file"
    elif source.startswith("data:image"):
        content, complaint = _decode(source), "Invalid base64 image"
    elif source.startswith("http"):
        raise ValueError(f"Failed to download image from URL {source}: {fetch_error(source)}")
    else:
        raise ValueError(f"Unsupported input: {source}")
    try:
        return Image.open(io.BytesIO(content))
    except UNREADABLE as error:
        raise ValueError(f"{complaint}: {error}") from error


def _decode(address: str) -> bytes:
    """Decode the content of a data URL as leniently as the server, whose pybase64 skips all but digits."""
    _, comma, text = address.partition(",")
    if not comma:
        raise ValueError("Invalid base64 image: not enough values to unpack (expected 2, got 1)")
    if not text.isascii():
        raise ValueError("Invalid base64 image: string argument should contain only ASCII characters")
    digits = _NO_DIGITS.sub("", text)
    padding = text.rpartition(digits[-1])[2].count("=") if digits else 0
    missing = -len(digits) % 4
    if missing == 3:  # noqa: PLR2004 - a single digit is left over
        raise ValueError("Invalid base64 image: Invalid number of data characters")
    if padding < missing:
        raise ValueError("Invalid base64 image: Incorrect padding")
    return base64.b64decode(digits + "=" * missing)
