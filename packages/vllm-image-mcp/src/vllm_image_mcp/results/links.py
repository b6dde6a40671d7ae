"""A link to a picture: its address as a resource of this server, and what a host shows of it."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from mcp.types import ResourceLink
from vllm_image_core.text import path_text

__all__ = ["mime_type_of", "picture_link", "picture_uri"]

_MIME_TYPES: Final = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def picture_uri(path: Path, *, folder: Path) -> str:
    """The address of a picture: ``image://`` and its file name, percent-encoded.

    A picture that lies elsewhere, because the folder could not be written, has the address of its file.

    Args:
        path: Absolute.
        folder: The output folder, absolute.
    """
    return f"image://{quote(path.name, safe='')}" if path.parent == folder else path.as_uri()


def mime_type_of(path: Path) -> str | None:
    """A picture's type by the name of its file."""
    return _MIME_TYPES.get(path.suffix.lower())


def picture_link(path: Path, *, uri: str, description: str) -> ResourceLink:
    """A link to the full picture.

    Args:
        path: Absolute.
        uri: Its address, as `picture_uri` tells it.
        description: What it is, in a few words; the path is added.
    """
    return ResourceLink(
        type="resource_link",
        uri=uri,
        name=path_text(path.name),
        description=f"{description}; {path_text(path)}",
        mime_type=mime_type_of(path),
    )
