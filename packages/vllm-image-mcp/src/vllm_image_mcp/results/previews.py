"""Draw the preview of a tool result (one image, a contact sheet or a grid) in a thread."""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mcp.types import Annotations, ImageContent
from vllm_image_core.errors import BadPicture, ImageError
from vllm_image_core.imaging.captions import Described, differing_captions
from vllm_image_core.imaging.grid_axes import grid_axes
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import contact_sheet, preview, xy_grid

_logger = logging.getLogger(__name__)

PreviewSize = Literal["small", "large"]
Value = str | int | float

_FORMAT: Final = "jpeg"
"""Every host and every model server decodes JPEG; some that run models locally cannot read WebP."""

_LEAST_BYTES: Final = 8_000
"""With less room than this, no preview is drawn: nothing would be visible."""

_MOST_FILE_BYTES: Final = 67_108_864
"""Larger files are not opened for a preview."""


Limits = Mapping[PreviewSize, tuple[int, int]]
"""For each size, the longest side in pixels, and the bytes as sent, in base64."""

_ONE: Final[Limits] = {"small": (768, 150_000), "large": (1536, 450_000)}
_SHEET: Final[Limits] = {"small": (1280, 300_000), "large": (1536, 450_000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetEntry:
    """One cell of a sheet.

    Attributes:
        number: The number drawn on it.
        path: The image's file; None if there is no image, in which case the cell stays empty.
        prompt: Its prompt.
        parameters: The other parameters that are known, by name.
    """

    number: int
    path: Path | None
    prompt: str
    parameters: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A preview to draw: a function of the longest side and the bytes, and the limits for each size."""

    draw: Callable[[int, int], Picture]
    limits: Limits


def one_picture(path: Path) -> Drawing:
    """A preview of one image."""
    return Drawing(
        lambda side, most: preview(_read(path), longest_side=side, max_bytes=most, format=_FORMAT), _ONE
    )


def sheet(places: Sequence[SheetEntry]) -> Drawing:
    """A numbered contact sheet, or a labelled grid if the images combine up to three settings."""
    if len(places) == 1 and (path := places[0].path):
        return one_picture(path)
    return Drawing(lambda side, most: _many(places, side, most), _SHEET)


async def draw_preview(drawing: Drawing, size: PreviewSize, *, room: int) -> ImageContent | None:
    """Draw a preview into the bytes left in a result; None if they are too few or nothing can be drawn."""
    longest_side, sent_bytes = drawing.limits[size]
    most = min(sent_bytes, room) * 3 // 4 - 3  # base64 turns three bytes into four
    if most < _LEAST_BYTES:
        return None
    try:
        picture = await asyncio.to_thread(drawing.draw, longest_side, most)
    except (ImageError, OSError) as error:
        _logger.warning("No preview could be drawn: %s", error)
        return None
    return ImageContent(
        type="image",
        data=base64.b64encode(picture.bytes).decode("ascii"),
        mime_type=f"image/{picture.format}",
        annotations=Annotations(audience=["user", "assistant"]),
    )


def _many(places: Sequence[SheetEntry], side: int, most: int) -> Picture:
    pictures = [_read_if_there(place.path) for place in places]
    if axes := grid_axes([{"prompt": place.prompt, **place.parameters} for place in places]):
        x, y, *z = axes
        return xy_grid(
            pictures, x=x, y=y, z=z[0] if z else None, longest_side=side, max_bytes=most, format=_FORMAT
        )
    return contact_sheet(
        pictures,
        captions=_captions(places),
        first_number=places[0].number,
        longest_side=side,
        max_bytes=most,
        format=_FORMAT,
    )


def _read(path: Path) -> Picture:
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise BadPicture(f"{path.name} is too large for a preview.")
    return Picture.check_file(path.read_bytes())


def _read_if_there(path: Path | None) -> Picture | None:
    if path is None:
        return None
    try:
        return _read(path)
    except (BadPicture, OSError):
        return None


def _captions(places: Sequence[SheetEntry]) -> list[str]:
    """The captions that distinguish the cells: prompts, or the differing parameters of one prompt."""
    return differing_captions([Described(place.prompt, place.parameters) for place in places])
