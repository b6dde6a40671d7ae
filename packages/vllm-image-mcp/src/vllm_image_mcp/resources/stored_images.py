"""Read images of the output folder by file name, in full or reduced, and list the latest.

The folder is read as it is: nothing is written, no index is needed, and links are not followed.
"""

import errno
import heapq
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import preview
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.thumbnail import thumbnail
from vllm_image_core.storage.filename import PICTURE_EXTENSIONS
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.record import Record, read_record
from vllm_image_core.storage.subfolders import Subfolders

SentFormat = Literal["png", "webp", "jpeg"]

MAX_SENT_BYTES: Final = 7_000_000
"""Maximum bytes of one image before base64: clients of the TypeScript SDK hang up at 10 MiB messages."""

_MOST_READ_BYTES: Final = 2**27
_LEAST_SIDE: Final = 16
_MOST_SIDE: Final = 4096
_NO_SUCH_NAME: Final = frozenset((errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTDIR))
_NO_PART_OF_A_NAME: Final = frozenset("\\:\0")


def read(root: Path, name: str) -> Picture | None:
    """Read an image of the folder and check that it is intact; None if no such file can be served.

    Args:
        root: The output folder.
        name: The file name, or its path below the folder, untrusted: whatever it is, only a file in that
            folder or in a real subfolder is opened.

    Raises:
        BadPicture: The file is not an intact image, or is larger than 128 MiB.
        OSError: The folder or the file cannot be read.
    """
    if not _is_picture_name(name):
        return None
    try:
        *folders, leaf = name.split("/")
        if folders and "/".join(folders) not in Subfolders(root).names():
            return None
        with (
            Folder.within(root, folders, create=False) as folder,
            folder.reading(leaf) as file,
        ):
            data = None if file is None else file.read(_MOST_READ_BYTES + 1)
    except (FileNotFoundError, ValueError):  # no such file, or a name that the system does not allow
        return None
    except OSError as error:
        if error.errno in _NO_SUCH_NAME:
            return None
        raise
    if data is None:
        return None
    if len(data) > _MOST_READ_BYTES:
        raise BadPicture("The file is larger than 128 MiB.")
    return Picture.check_file(data)


def smaller(
    picture: Picture,
    *,
    width: int | None,
    format: SentFormat | None,  # noqa: A002 - its name in the address
) -> Picture:
    """The image to send: the file itself, or a smaller one if requested or over `MAX_SENT_BYTES`.

    Args:
        picture: The image from its file.
        width: Pixels, at least 1; the height follows. The image is never enlarged; its longer side ends up
            between 16 and 4096. None for its own width.
        format: None for the file's own format, or JPEG if the image is reduced.

    Raises:
        BadPicture: The pixels cannot be decoded.
    """
    fits = len(picture.bytes) <= MAX_SENT_BYTES
    if width is None and fits and format in (None, picture.format):
        return picture
    longest = max(picture.width, picture.height)
    side = longest if width is None else max(_LEAST_SIDE, round(longest * width / picture.width))
    if format == "png":
        return _smaller_png(picture, min(side, _MOST_SIDE))
    return preview(
        picture,
        longest_side=min(side, _MOST_SIDE),
        max_bytes=MAX_SENT_BYTES,
        format=format or "jpeg",
    )


def _smaller_png(picture: Picture, side: int) -> Picture:
    """A lossless smaller image; one that is still too large is reduced until it fits."""
    while True:
        file = io.BytesIO()
        thumbnail(picture, Size(side, side)).save(file, "PNG")
        if file.tell() <= MAX_SENT_BYTES:
            return Picture.check(file.getvalue())
        side = side * 3 // 4


def latest(root: Path, count: int) -> tuple[Record, ...]:
    """The records of the images written last, newest first."""
    try:
        with Folder.existing(root) as folder:
            newest = heapq.nlargest(2 * count, _written_at(folder))
            return tuple(_records(folder, [name for _, name in newest]))[:count]
    except FileNotFoundError:  # the folder does not exist yet
        return ()


def records(root: Path, names: Iterable[str]) -> tuple[Record, ...]:
    """The records of the files with these names, skipping those that are gone."""
    try:
        with Folder.existing(root) as folder:
            return tuple(_records(folder, names))
    except OSError:
        return ()


def _written_at(folder: Folder) -> Iterator[tuple[int, str]]:
    """When each file was written, in nanoseconds since 1970, with its name."""
    nested = (
        f"{subfolder}/{name}"
        for subfolder in Subfolders(folder.path).names()
        for name in os.listdir(folder.path / subfolder)  # noqa: PTH208 - names only
    )
    for name in (*folder.names(), *nested):
        if _is_picture_name(name):
            try:
                yield folder.status(name).st_mtime_ns, name
            except OSError:  # removed meanwhile
                continue


def _records(folder: Folder, names: Iterable[str]) -> Iterator[Record]:
    for name in names:
        try:
            record = read_record(folder, name)
        except OSError:
            continue
        if record is not None:
            yield record


def _is_picture_name(name: str) -> bool:
    return (
        not any(part.startswith(".") or not part for part in name.split("/"))
        and name.lower().endswith(PICTURE_EXTENSIONS)
        and _NO_PART_OF_A_NAME.isdisjoint(name)
        and name.isprintable()
    )
