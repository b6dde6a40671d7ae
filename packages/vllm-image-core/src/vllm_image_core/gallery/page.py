"""Write a folder's images as one HTML page that works offline: search, sort, zoom, compare, copy, rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from vllm_omni_client.imaging import retry_while_held

from vllm_image_core.gallery.thumbnails import update_thumbnails
from vllm_image_core.requests.fields import REQUEST_FIELDS, fields_shown_in
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.query import MAX_LIMIT, Query
from vllm_image_core.storage.search import Search
from vllm_image_core.storage.verdicts import BIN
from vllm_image_core.text import one_line, path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vllm_image_core.storage.record import Record

PAGE: Final = "gallery.html"
THUMBNAILS: Final = "thumbnails"
_SOURCES: Final = Path(__file__).parent
_COMMAND: Final = "vllm-image-mcp generate"


def write_gallery(folder: Path, *, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the page of a folder's images into that folder, and return its path.

    The page is complete in itself: it shows the files next to it, and asks no server for anything. An earlier
    page is replaced. Blocks while it reads the folder and makes thumbnails.

    Args:
        folder: The folder of the images.
        on_progress: Called with the number of images that are done, and of all.

    Raises:
        IndexUnavailable: The folder's index cannot be read or written.
        OSError: The page cannot be written.
    """
    records = list(_records(folder))
    thumbnails = update_thumbnails(records, folder / FOLDER / THUMBNAILS, on_progress=on_progress)
    page = folder / PAGE
    unfinished = folder / FOLDER / f"{PAGE}.part"
    unfinished.write_text(gallery_page(records, thumbnails, folder), encoding="utf-8")
    retry_while_held(lambda: unfinished.replace(page))
    return page


def served_gallery(folder: Path) -> str:
    """Return the page of a folder's images, rejected ones included, for a server that takes decisions.

    The page sends `POST opinion` with the name of an image and what to change: verdict, stars or tag. Blocks
    as `write_gallery` does, and raises `IndexUnavailable`, too.
    """
    records = [*_records(folder), *_records(folder, rejected=True)]
    thumbnails = update_thumbnails(records, folder / FOLDER / THUMBNAILS)
    return gallery_page(records, thumbnails, folder, editable=True)


def gallery_page(
    records: list[Record], thumbnails: Mapping[Path, Path], folder: Path, *, editable: bool = False
) -> str:
    """Return the HTML of the page.

    Args:
        records: The images to show.
        thumbnails: The small copy of each; an image without one is shown itself.
        folder: The folder that addresses on the page are relative to.
        editable: Whether the page is served by something that takes its decisions.
    """
    data = {
        "title": f"Images in {one_line(folder.name or path_text(folder), limit=80)}",
        "images": [_image(record, thumbnails.get(record.path, record.path), folder) for record in records],
        "options": {
            each.name: each.option or f"--{each.name.replace('_', '-')}"
            for each in fields_shown_in("generate")
            if each.name != "prompt"
        },
        "words": _COMMAND,
        "editable": editable,
    }
    # "<" begins every text that could end the element it stands in.
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _source("page.html")
    for mark, text in (("STYLE", _source("page.css")), ("SCRIPT", _source("page.js")), ("DATA", embedded)):
        page = page.replace(f"/*{mark}*/", text, 1)
    return page


def _image(record: Record, thumbnail: Path, folder: Path) -> dict[str, Any]:
    is_rejected = record.path.is_relative_to(folder / BIN)
    parameters = {
        each.name: getattr(record, each.name) for each in REQUEST_FIELDS if hasattr(record, each.name)
    }
    return {
        "name": path_text(record.path.relative_to(folder / BIN if is_rejected else folder).as_posix()),
        "file": _address(record.path, folder),
        "thumbnail": _address(thumbnail, folder),
        "prompt": record.prompt or "",
        "model": record.model or "",
        "batch": record.batch or "",
        "seed": "" if record.seed is None else str(record.seed),  # JavaScript rounds large integers
        "size": str(record.size),
        "created": record.created.isoformat(),
        "choice": "kept" if record.kept else "rejected" if is_rejected else "",
        "stars": record.stars or 0,
        "tag": record.tag or "",
        "edited": record.operation == "edit",
        "parameters": {
            name: str(value) if name == "seed" else value
            for name, value in parameters.items()
            if isinstance(value, str | int | float)
        },
    }


def _records(folder: Path, *, rejected: bool = False) -> Iterator[Record]:
    search, offset = Search(folder), 0
    while True:
        page = search.find(Query(limit=MAX_LIMIT, offset=offset), rejected=rejected)
        yield from page.pictures
        if page.next_offset is None:
            return
        offset = page.next_offset


def _address(path: Path, folder: Path) -> str:
    """Return the address of a file relative to the page; a name may contain any character."""
    return quote(path.relative_to(folder).as_posix())


def _source(name: str) -> str:
    return (_SOURCES / name).read_text("utf-8")
