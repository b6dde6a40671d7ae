"""Previews: one picture made small, many on a numbered contact sheet, or a grid with labelled axes.

They are what an assistant or a person sees of pictures that are too large to be sent. Each function draws at
once and takes some ten milliseconds per picture; where an event loop runs, call it in a thread::

    small = await asyncio.to_thread(preview, image.picture, longest_side=512, max_bytes=60_000)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_image_core.imaging.contact_sheet import ContactSheet
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.size import Size
from vllm_image_core.imaging.thumbnail import ByteBudget, PreviewFormat, fit, thumbnail
from vllm_image_core.imaging.xy_grid import Axis, XYGrid

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Axis", "PreviewFormat", "contact_sheet", "preview", "xy_grid"]


def preview(
    picture: Picture,
    *,
    longest_side: int = 768,
    max_bytes: int = 98_304,
    format: PreviewFormat = "webp",  # noqa: A002 - the field's own name, and keyword-only
) -> Picture:
    """A picture made small: upright, opaque, without metadata, never enlarged.

    Quality is given up first, down to where it is seen; then size.

    Args:
        picture: Any checked picture.
        longest_side: Pixels, 16 to 4096.
        max_bytes: Of the whole file, 1024 to 16 MiB.
        format: "webp", or "jpeg" for what knows no WebP.

    Raises:
        InvalidRequest: A limit is out of range, or nothing fits into it.
        BadPicture: The pixels cannot be decoded.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    largest = thumbnail(picture, Size(longest_side, longest_side))

    def draw(side: int) -> "Image.Image":
        return fit(largest, Size(side, side)) if max(largest.size) > side else largest

    return budget.keep(draw)


def contact_sheet(
    pictures: Sequence[Picture | None],
    *,
    captions: Sequence[str] | None = None,
    first_number: int = 1,
    longest_side: int = 1536,
    max_bytes: int = 393_216,
    format: PreviewFormat = "webp",  # noqa: A002 - likewise
) -> Picture:
    """Many pictures on one sheet, row by row, each with its number and, if given, a caption of two lines.

    Args:
        pictures: 1 to 256; None, or a picture that cannot be decoded, leaves an empty place of its number.
        captions: One for each; letters that the font does not have are replaced or left out.
        first_number: The number of the first, 0 to 999,999.
        longest_side: As for `preview`; the number of columns is chosen so that pictures come out largest.
        max_bytes: As for `preview`.
        format: As for `preview`.

    Raises:
        InvalidRequest: There is no picture, or too many; a limit is out of range, or nothing fits into it.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    sheet = ContactSheet(pictures, captions=captions, first_number=first_number, longest_side=longest_side)
    return budget.keep(sheet.draw)


def xy_grid(
    pictures: Sequence[Picture | None],
    *,
    x: Axis,
    y: Axis,
    longest_side: int = 1536,
    max_bytes: int = 393_216,
    format: PreviewFormat = "webp",  # noqa: A002 - likewise
) -> Picture:
    """Pictures in a table whose columns and rows are labelled with what differs between them.

    Args:
        pictures: Row by row, one for each pair of values, 1 to 256; None, or one that cannot be decoded,
            leaves an empty place.
        x: What differs from column to column.
        y: What differs from row to row.
        longest_side: As for `preview`.
        max_bytes: As for `preview`.
        format: As for `preview`.

    Raises:
        InvalidRequest: The number of pictures is not that of the pairs; a limit is out of range, or nothing
            fits into it.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    grid = XYGrid(pictures, x=x, y=y, longest_side=longest_side)
    return budget.keep(grid.draw)
