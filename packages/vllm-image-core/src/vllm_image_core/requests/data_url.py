"""Decode the image in a data: URL, strictly and within a limit."""

import base64
import binascii
import re
from typing import Final

MOST_DATA_BYTES: Final = 3_000_000
"""3 MB of image; with base64 it still fits into the 4 MiB that hosts send in one message."""

_MOST_CHARACTERS: Final = MOST_DATA_BYTES * 4 // 3 + 1_000
_HEAD: Final = re.compile(
    r"data:(?:image/[\w.+-]{1,40}|application/octet-stream)?(?:;[\w=.-]{1,60}){0,4};base64,", re.IGNORECASE
)


def is_data_url(text: str) -> bool:
    """Whether a string is a data: URL, whatever its content."""
    return text[:5].lower() == "data:"


def decode_data_url(url: str) -> bytes:
    """Return the bytes of a base64 data: URL for an image; whether they are one is for the caller to check.

    Raises:
        ValueError: It is too long, is for something else than an image, or is not valid base64.
    """
    if len(url) > _MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_DATA_BYTES // 1_000_000} MB of image data")
    head = _HEAD.match(url)
    if head is None:
        raise ValueError("it is not a data: URL for an image in base64")
    try:
        data = base64.b64decode("".join(url[head.end() :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("its base64 is not valid") from error
    if len(data) > MOST_DATA_BYTES:
        raise ValueError(f"it has more than {MOST_DATA_BYTES // 1_000_000} MB of image data")
    return data
