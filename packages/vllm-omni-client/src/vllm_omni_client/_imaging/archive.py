"""Archive: the pictures of a reply in file mode, one bare or several in a zip."""

import io
import re
import zipfile
import zlib
from typing import Final

_ZIP: Final = b"PK\x03\x04"
_MOST_MEMBERS: Final = 32
_NUMBERED: Final = re.compile(r"([0-9]{1,9})\.[a-z]+")


def pictures_in(content: bytes, *, most_bytes: int) -> tuple[bytes, ...]:
    """Return the pictures in the order of their numbers; of a bare picture that one.

    Args:
        content: The whole body.
        most_bytes: All of them together may not be longer unpacked.

    Raises:
        ValueError: It is a zip that cannot be read, or that unpacks to more than that.
    """
    if not content.startswith(_ZIP):
        return (content,)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(member.file_size for member in members) > most_bytes:
                raise ValueError("the zip unpacks to more than was asked for")
            return tuple(archive.read(member) for member in sorted(members, key=_number))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip of pictures is damaged: {error}") from error


def _number(member: zipfile.ZipInfo) -> int:
    """Return the number in a name such as "image_1.png"; 0 where there is none."""
    number = _NUMBERED.search(member.filename)
    return int(number[1]) if number else 0
