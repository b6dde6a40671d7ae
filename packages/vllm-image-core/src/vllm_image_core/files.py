"""Read files that others name, with a limit on their size."""

from collections.abc import Callable
from pathlib import Path

from vllm_image_core.errors import ImageError
from vllm_image_core.text import LONGEST_PATH, one_line, system_reason

MOST_IMAGE_BYTES = 268_435_456
"""256 MiB; the largest image that a server generates has 146 MB uncompressed."""


def read_image_file(
    path: Path, refusal: Callable[[str], ImageError], *, longest_path: int = LONGEST_PATH
) -> bytes:
    """Read a regular file of at most 256 MiB; raise what `refusal` makes of the reason if it cannot."""
    shown = one_line(str(path), limit=longest_path)
    try:
        if not path.is_file():
            raise refusal(f"{shown} is not a file.")
        with path.open("rb") as file:
            data = file.read(MOST_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise refusal(f"{shown} cannot be read: {system_reason(error)}.") from error
    if len(data) > MOST_IMAGE_BYTES:
        raise refusal(f"{shown} is larger than {MOST_IMAGE_BYTES} bytes.")
    return data
