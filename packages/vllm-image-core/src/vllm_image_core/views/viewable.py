"""A viewable: a picture to be shown small, however it is at hand: made, found, in memory or in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vllm_image_core.errors import BadPicture
from vllm_image_core.files.record import Record
from vllm_image_core.generated import GeneratedImage
from vllm_image_core.picture import Picture
from vllm_image_core.text import LONGEST_PATH, one_line

__all__ = ["Viewable", "picture_of", "pictures_of"]

Viewable = GeneratedImage | Record | Picture | Path | str | bytes
"""A picture that was made or found, a checked one, a file's path or its content."""

_MOST_BYTES: Final = 268_435_456
"""256 MiB: the largest picture that a server makes has 146 MB, unpacked."""


def picture_of(viewable: Viewable) -> Picture:
    """The picture, read from its file where that is where it is, and checked; waits for the disk.

    Raises:
        BadPicture: The file cannot be read, or is no whole PNG, JPEG or WebP.
    """
    match viewable:
        case Picture():
            return viewable
        case GeneratedImage():
            return viewable.picture
        case Record():
            return Picture.check_file(_content(viewable.path))
        case bytes():
            return Picture.check(viewable)
        case _:
            return Picture.check_file(_content(Path(viewable)))


def pictures_of(viewables: Sequence[Viewable | None]) -> list[Picture | None]:
    """The pictures of many; None for those that are None, or no pictures any more."""
    return [None if viewable is None else _picture_or_none(viewable) for viewable in viewables]


def _picture_or_none(viewable: Viewable) -> Picture | None:
    try:
        return picture_of(viewable)
    except BadPicture:
        return None


def _content(path: Path) -> bytes:
    shown = one_line(str(path), limit=LONGEST_PATH)
    try:
        if not path.is_file():
            raise _unreadable(f"{shown} is no file.")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise _unreadable(f"{shown} cannot be read: {one_line(str(error))}.") from error
    if len(data) > _MOST_BYTES:
        raise _unreadable(f"{shown} has more than {_MOST_BYTES} bytes.")
    return data


def _unreadable(message: str) -> BadPicture:
    return BadPicture(message, next_step="Name the file of a picture.")
