"""The space that pictures will need on a disk, and what is free there."""

import shutil
from pathlib import Path
from typing import Final

from vllm_image_core.errors import NotEnoughSpace
from vllm_image_core.text import one_line

BYTES_PER_PIXEL: Final = 2.0
"""Of a PNG of a photograph. Kodak's 24 test pictures have 1.63; three is what pixels of noise have."""

MARGIN: Final = 1.2
"""How much more must be free than the pictures are thought to need."""


def required_bytes(pixels: int) -> int:
    """What pictures with so many pixels together will need on a disk, with the margin."""
    return int(pixels * BYTES_PER_PIXEL * MARGIN)


def pixels_for(needed: int) -> int:
    """How many pixels need so many bytes, with the margin."""
    return int(needed / (BYTES_PER_PIXEL * MARGIN))


def check_space(folder: Path, *, pixels: int) -> None:
    """Compare what is free on the disk of a folder with what pictures will need there.

    Args:
        folder: It is there.
        pixels: Of all the pictures together.

    Raises:
        NotEnoughSpace: Less is free than they need.
        OSError: The folder cannot be asked.
    """
    free, needed = shutil.disk_usage(folder).free, required_bytes(pixels)
    if free < needed:
        raise NotEnoughSpace(
            f"Not enough space in {one_line(str(folder), limit=300)}: {_format_size(free)} are free, about "
            f"{_format_size(needed)} are needed. Nothing was sent.",
            free_bytes=free,
            needed_bytes=needed,
        )


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004 - a gigabyte
