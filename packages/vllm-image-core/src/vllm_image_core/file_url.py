"""Read the path in a file:// URL."""

import os
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_DRIVE: Final = re.compile(r"/[A-Za-z]:[/\\]")


def path_in_url(url: str) -> str:
    """Return the path on this machine that a file:// URL names (RFC 8089).

    Raises:
        ValueError: It names none; the text says why.
    """
    scheme, _, rest = url.partition(":")
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        path = slash + path
    if host.casefold() not in {"", "localhost"}:
        raise ValueError("the file is on another machine")
    if scheme.casefold() != "file" or not path.startswith("/"):
        raise ValueError("it is not a valid file URL; use file:///path")
    decoded = os.fsdecode(unquote_to_bytes(path))
    return decoded[1:] if _DRIVE.match(decoded) else decoded
