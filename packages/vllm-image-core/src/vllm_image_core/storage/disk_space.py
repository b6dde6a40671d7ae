"""Check whether a disk has enough free space for the images to be saved."""

import shutil
from pathlib import Path
from typing import Final

from vllm_image_core.errors import NotEnoughSpace
from vllm_image_core.text import one_line

BYTES_PER_PIXEL: Final = 2.0
"""For a PNG of a photograph. Kodak's 24 test images take 1.63; noise takes 3."""

MARGIN: Final = 1.2
"""Factor by which the free space must exceed the expected need."""


def required_bytes(pixels: int) -> int:
    """Return the disk space, with the margin, that images with this total number of pixels need."""
    return int(pixels * BYTES_PER_PIXEL * MARGIN)


def pixels_for(needed: int) -> int:
    """Return how many pixels need this many bytes, with the margin."""
    return int(needed / (BYTES_PER_PIXEL * MARGIN))


def check_space(folder: Path, *, pixels: int) -> None:
    """Compare the free space on the disk of a folder with what images will need.

    Not enough is `NotEnoughSpace`. Some network shares do not say how much is free; saving will tell.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    needed = required_bytes(pixels)
    if free < needed:
        raise NotEnoughSpace(
            f"Not enough space in {one_line(str(folder), limit=300)}: {format_size(free)} is free, about "
            f"{format_size(needed)} is needed. Nothing was sent.",
            free_bytes=free,
            needed_bytes=needed,
        )


def format_size(size: int) -> str:
    """Return a number of bytes in words, such as "1.5 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004 - a gigabyte
