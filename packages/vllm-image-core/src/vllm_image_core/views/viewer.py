"""A viewer: pictures made small off the event loop, one, many on a sheet, or in a labelled grid."""

import asyncio
from collections.abc import Sequence

from vllm_image_core import preview
from vllm_image_core.picture import Picture
from vllm_image_core.preview import Axis, PreviewFormat
from vllm_image_core.views.viewable import Viewable, picture_of, pictures_of

__all__ = ["Viewer"]


class Viewer:
    """What a studio shows of pictures, its own and others."""

    async def preview(
        self,
        picture: Viewable,
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
        pictures: Sequence[Viewable | None],
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
        pictures: Sequence[Viewable | None],
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
