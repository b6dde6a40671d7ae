"""A viewer: pictures made small off the event loop, one, many on a sheet, or in a labelled grid."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging import preview
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis, PreviewFormat
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.storage.record import Record
from vllm_image_core.text import LONGEST_PATH, one_line

__all__ = [
    "ImageSource",
    "StudioViews",
    "picture_of",
    "pictures_of",
]


ImageSource = GeneratedImage | Record | Picture | Path | str | bytes
"""A picture that was made or found, a checked one, a file's path or its content."""

_MOST_BYTES: Final = 268_435_456
"""256 MiB: the largest picture that a server makes has 146 MB, unpacked."""


def picture_of(image_source: ImageSource) -> Picture:
    """The picture, read from its file where that is where it is, and checked; waits for the disk.

    Raises:
        BadPicture: The file cannot be read, or is no whole PNG, JPEG or WebP.
    """
    match image_source:
        case Picture():
            return image_source
        case GeneratedImage():
            return image_source.picture
        case Record():
            return Picture.check_file(_content(image_source.path))
        case bytes():
            return Picture.check(image_source)
        case _:
            return Picture.check_file(_content(Path(image_source)))


def pictures_of(image_sources: Sequence[ImageSource | None]) -> list[Picture | None]:
    """The pictures of many; None for those that are None, or no pictures any more."""
    return [
        None if image_source is None else _picture_or_none(image_source) for image_source in image_sources
    ]


def _picture_or_none(image_source: ImageSource) -> Picture | None:
    try:
        return picture_of(image_source)
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


class StudioViews:
    """What a studio shows of pictures, its own and others."""

    async def preview(
        self,
        picture: ImageSource,
        *,
        longest_side: int = 768,
        max_bytes: int = 98_304,
        format: PreviewFormat = "webp",  # noqa: A002 - the field's own name, and keyword-only
    ) -> Picture:
        """One picture made small, for an assistant or a person to see; see ``preview.preview``.

        Args:
            picture: One that was made or found, a checked one, a file's path or its content.
            longest_side: Pixels, 16 to 4096; never enlarged.
            max_bytes: Of the whole file, 1024 to 16 MiB.
            format: "webp", or "jpeg" for what knows no WebP.

        Raises:
            InvalidRequest: A limit is out of range, or nothing fits into it.
            BadPicture: The picture cannot be read or decoded.
        """
        return await asyncio.to_thread(
            lambda: preview.preview(
                picture_of(picture), longest_side=longest_side, max_bytes=max_bytes, format=format
            )
        )

    async def contact_sheet(
        self,
        pictures: Sequence[ImageSource | None],
        *,
        captions: Sequence[str] | None = None,
        first_number: int = 1,
        longest_side: int = 1536,
        max_bytes: int = 393_216,
        format: PreviewFormat = "webp",  # noqa: A002 - likewise
    ) -> Picture:
        """Many pictures on one sheet, numbered, row by row; see ``preview.contact_sheet``.

        Args:
            pictures: 1 to 256, each as for ``preview``; None, or one that cannot be read, leaves an empty
                place of its number.
            captions: One for each, of two lines.
            first_number: The number of the first, 0 to 999,999.
            longest_side: As for ``preview``.
            max_bytes: As for ``preview``.
            format: As for ``preview``.

        Raises:
            InvalidRequest: There is no picture, or too many; a limit is out of range, or nothing fits into
                it.
        """
        return await asyncio.to_thread(
            lambda: preview.contact_sheet(
                pictures_of(pictures),
                captions=captions,
                first_number=first_number,
                longest_side=longest_side,
                max_bytes=max_bytes,
                format=format,
            )
        )

    async def xy_grid(
        self,
        pictures: Sequence[ImageSource | None],
        *,
        x: Axis,
        y: Axis,
        longest_side: int = 1536,
        max_bytes: int = 393_216,
        format: PreviewFormat = "webp",  # noqa: A002 - likewise
    ) -> Picture:
        """Pictures in a table whose columns and rows are labelled; see ``preview.xy_grid``.

        Args:
            pictures: Row by row, one for each pair of values, 1 to 256; each as for ``contact_sheet``.
            x: What differs from column to column.
            y: What differs from row to row.
            longest_side: As for ``preview``.
            max_bytes: As for ``preview``.
            format: As for ``preview``.

        Raises:
            InvalidRequest: The number of pictures is not that of the pairs; a limit is out of range, or
                nothing fits into it.
        """
        return await asyncio.to_thread(
            lambda: preview.xy_grid(
                pictures_of(pictures),
                x=x,
                y=y,
                longest_side=longest_side,
                max_bytes=max_bytes,
                format=format,
            )
        )
