"""Unpack the images of a reply in file mode: one bare image, or a zip of several."""

import io
import re
import zipfile
import zlib
from typing import Final

_ZIP: Final = b"PK\x03\x04"
_MOST_MEMBERS: Final = 32
_NUMBERED: Final = re.compile(r"([0-9]{1,9})\.[a-z]+")


def unpack_images(content: bytes, *, most_bytes: int) -> tuple[bytes, ...]:
    """Return the images in the order of their numbers; for a bare image, only that one.

    `most_bytes` limits the unpacked size of all images together.

    Raises:
        ValueError: The zip cannot be read, or exceeds the limit.
    """
    if not content.startswith(_ZIP):
        return (content,)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(member.file_size for member in members) > most_bytes:
                raise ValueError("the zip unpacks to more than was requested")
            return tuple(archive.read(member) for member in sorted(members, key=_number))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip of images is damaged: {error}") from error


def _number(member: zipfile.ZipInfo) -> int:
    """Return the number in a name such as "image_1.png"; 0 if there is none."""
    number = _NUMBERED.search(member.filename)
    return int(number[1]) if number else 0
