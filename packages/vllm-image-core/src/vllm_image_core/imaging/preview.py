"""Draw previews: one reduced image, a numbered contact sheet of many, or a grid with labelled axes.

Previews show an assistant or a person images that are too large to send. Each function blocks while it draws,
about ten milliseconds per image; if an event loop is running, call it in a thread::

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
    """Draw a smaller version of an image: upright, opaque, without metadata, never enlarged.

    To fit the byte limit, quality is lowered first, as far as it hardly shows; then the size. The arguments
    and errors are those of `Studio.preview`.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    largest = thumbnail(picture, Size(longest_side, longest_side))

    def draw(side: int) -> "Image.Image":
        return fit(largest, Size(side, side)) if max(largest.size) > side else largest

    return budget.encode(draw)


def contact_sheet(
    pictures: Sequence[Picture | None],
    *,
    captions: Sequence[str] | None = None,
    first_number: int = 1,
    longest_side: int = 1536,
    max_bytes: int = 393_216,
    format: PreviewFormat = "webp",  # noqa: A002 - likewise
) -> Picture:
    """Draw many images on one sheet, row by row, each with its number and an optional two-line caption.

    The arguments and errors are those of `Studio.contact_sheet`. The number of columns is chosen to make the
    images large; letters that the font does not have are replaced or omitted.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    sheet = ContactSheet(pictures, captions=captions, first_number=first_number, longest_side=longest_side)
    return budget.encode(sheet.draw)


def xy_grid(
    pictures: Sequence[Picture | None],
    *,
    x: Axis,
    y: Axis,
    z: Axis | None = None,
    longest_side: int = 1536,
    max_bytes: int = 393_216,
    format: PreviewFormat = "webp",  # noqa: A002 - likewise
) -> Picture:
    """Draw images in a table whose columns, rows and blocks of rows are labelled with what differs.

    The arguments and errors are those of `Studio.xy_grid`.
    """
    budget = ByteBudget(longest_side=longest_side, max_bytes=max_bytes, format=format)
    grid = XYGrid(pictures, x=x, y=y, z=z, longest_side=longest_side)
    return budget.encode(grid.draw)
