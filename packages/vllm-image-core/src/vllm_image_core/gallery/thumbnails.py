"""Keep small JPEG copies of a folder's images, for pages that show many of them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from vllm_omni_client.imaging import retry_while_held

from vllm_image_core.errors import BadPicture, ImageError
from vllm_image_core.files import read_image_file
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.thumbnail import thumbnail
from vllm_image_core.storage.record import Record

_BOX: Final = Size(320, 320)
_QUALITY: Final = 80


def update_thumbnails(
    records: Sequence[Record], folder: Path, *, on_progress: Callable[[int, int], None] | None = None
) -> dict[Path, Path]:
    """Make the thumbnails that are missing or older than their images, and return them by image.

    An image that cannot be read has none.

    Args:
        records: The images, as the index knows them.
        folder: Where the thumbnails are; it is created.
        on_progress: Called with the number of images that are done, and of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Path, Path] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = pool.map(partial(_up_to_date, folder=folder), records)
        for count, (record, path) in enumerate(zip(records, made, strict=True), start=1):
            if path is not None:
                found[record.path] = path
            if on_progress is not None:
                on_progress(count, len(records))
    kept = {path.name for path in found.values()}
    for path in folder.iterdir():
        if path.name not in kept:
            with suppress(OSError):  # what a browser holds open is removed the next time
                path.unlink()
    return found


def _up_to_date(record: Record, folder: Path) -> Path | None:
    """Return the thumbnail of an image, made now if it is missing or out of date; None if it cannot be."""
    # Images of several subfolders may have one name, and Windows limits the length of a path.
    place = hashlib.sha256(os.fsencode(os.path.relpath(record.path, folder))).hexdigest()[:24]
    path = folder / f"{place}.{record.modified_ns:x}.jpg"
    if path.exists():
        return path
    try:
        small = thumbnail(Picture.check_file(read_image_file(record.path, BadPicture)), _BOX)
    except (ImageError, OSError):
        return None
    unfinished = path.with_suffix(".part")
    small.save(unfinished, "JPEG", quality=_QUALITY)
    retry_while_held(lambda: unfinished.replace(path))
    return path
