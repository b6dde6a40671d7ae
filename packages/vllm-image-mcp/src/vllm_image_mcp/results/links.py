"""Link to saved images by their resource address on this server."""

from pathlib import Path
from urllib.parse import quote

from mcp.types import ResourceLink
from vllm_image_core.text import path_text


def picture_uri(path: Path, *, folder: Path) -> str:
    """The address of an image: ``image://`` and its name, percent-encoded, with its subfolder if it has one.

    An image saved elsewhere, because the folder could not be written, has a ``file:`` address.
    """
    from vllm_image_core.storage.subfolders import name_in  # noqa: PLC0415 - the server starts without it

    if not path.is_relative_to(folder):
        return path.as_uri()
    return f"image://{quote(name_in(folder, path), safe='')}"


def mime_type_of(path: Path) -> str | None:
    """An image's MIME type, from the suffix of its file name."""
    from vllm_image_core.imaging.extension import FORMATS  # noqa: PLC0415 - the server starts without it

    kind = FORMATS.get(path.suffix.lower())
    return kind and f"image/{kind}"


def picture_link(path: Path, *, uri: str, description: str) -> ResourceLink:
    """A link to the full image; its path is added to the description."""
    return ResourceLink(
        type="resource_link",
        uri=uri,
        name=path_text(path.name),
        description=f"{description}; {path_text(path)}",
        mime_type=mime_type_of(path),
    )
