"""Check the filename that a caller gives for an image, or build one from the time and the prompt.

Files get copied: to Windows, into archives, onto other people's disks. So the same rule applies on every
system.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.extension import FORMATS
from vllm_image_core.storage.os_errors import is_encodable
from vllm_image_core.text import one_line

MAX_BYTES = 120
"""The longest name, in UTF-8 bytes; with a suffix and an extension, well under the usual limit of 255."""

MOST_FOLDERS = 8
"""How deep below the output folder an image may be saved."""

ALLOWED = (
    f"a plain name of 1 to {MAX_BYTES} bytes, after folders of the output folder if you like (hero/left), "
    'without control characters or any of < > : " | ? *; no part may begin with . - ~, end with a dot, or be '
    "reserved by Windows"
)
"""The rule, in words."""

OWN_FOLDERS = frozenset(("rejected", "wildcards", "styles"))
"""Folders in the output folder that have a meaning of their own."""

PICTURE_EXTENSIONS = tuple(FORMATS)
"""The extensions of image files, in lower case."""


_AUTOMATIC_STEM = "img_{time}_{digest}"
_AUTOMATIC = re.compile(
    _AUTOMATIC_STEM.format(time=r"\d{8}_\d{6}", digest="[0-9a-f]{6}") + r"(_\d+)?", re.IGNORECASE | re.ASCII
)
FORBIDDEN = frozenset('<>:"/\\|?*')
_SEPARATOR = re.compile(r"[/\\]")
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_PORTS = frozenset(f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10))
RESERVED = _PORTS | {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}


def automatic_stem(prompt: str, now: datetime) -> str:
    """Return the automatic name of an image, without its extension: img_20260218_143022_a1b2c3.

    It has the date, the time and the first 6 hexadecimal digits of the SHA-256 of the prompt in UTF-8.
    """
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
    return _AUTOMATIC_STEM.format(time=f"{now:%Y%m%d_%H%M%S}", digest=digest[:6])


def check_filename(filename: str | None) -> str | None:
    """Check a name that a caller gave; return it normalised (NFKC) and without an image extension.

    The extension follows the actual format of the image, which is known only once it has been received:
    ".png", ".jpg", ".jpeg" and ".webp" at the end are removed, and anything else belongs to the name. So
    "fox", "fox.png" and "fox.jpg" name the same file, and "fox.exe" becomes "fox.exe.png". A name that looks
    automatic is put in lower case, so that it cannot differ from an automatic name only by case.

    The name may be a path below the output folder, with the separators of any system: "hero/left.webp".

    Returns:
        The stem, with slashes between it and its folders; None for None, which means an automatic name.

    Raises:
        InvalidRequest: The name is not ALLOWED.
    """
    if filename is None:
        return None
    if not isinstance(filename, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- a caller's value, unchecked
        raise _refusal(filename, "is not a string")
    *folders, name = _parts(filename)
    stem = _without_picture_extension(name)
    if fault := _folder_fault(folders):
        raise _refusal(filename, fault)
    for text in (*folders, name, stem):
        if fault := _fault(text):
            raise _refusal(filename, fault)
    stem = stem.lower() if _AUTOMATIC.fullmatch(stem) else stem
    whole = "/".join((*folders, stem))
    if not is_encodable(whole):
        raise _refusal(filename, "has a character that filenames on this system cannot have")
    return whole


def is_subfolder(path: str) -> bool:
    """Return whether images may be saved in this folder below the output folder, such as "hero/left"."""
    folders = path.split("/")
    return _folder_fault(folders) is None and not any(map(_fault, folders))


def normal_form(name: str) -> str:
    """Return the Unicode normal form (NFKC) of a name, however a volume lists its accents."""
    return unicodedata.normalize("NFKC", name)


def fold_name(name: str) -> str:
    """Return the form that a name shares with all names that some file system treats as the same."""
    return normal_form(normal_form(name).casefold())


def _parts(filename: str) -> list[str]:
    """Return the folders and the name, each in Unicode normal form (NFKC)."""
    parts = _SEPARATOR.split(filename)
    if len(filename) > MAX_BYTES * (1 if len(parts) == 1 else 2):
        raise _refusal(filename, f"has {len(filename)} characters")
    return [normal_form(part) for part in parts]


def _folder_fault(folders: Sequence[str]) -> str | None:
    """Say why images are not saved in these folders; None if they may be."""
    if ".." in folders:
        return "leads out of the output folder"
    if folders and not folders[0]:
        return "is an absolute path"
    if len(folders) > MOST_FOLDERS:
        return f"is in {len(folders)} folders; at most {MOST_FOLDERS} are allowed"
    if folders and fold_name(folders[0]) in OWN_FOLDERS:
        return f"is in the folder {folders[0]}, which has another use"
    return None


def _without_picture_extension(name: str) -> str:
    for extension in PICTURE_EXTENSIONS:
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name


def _fault(name: str) -> str | None:
    """Say what is wrong with a name; None if nothing is."""
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(character) in _INVISIBLE for character in name):
        return "has a control character or an invisible character"
    if not FORBIDDEN.isdisjoint(name):
        return "has a character that is not allowed in filenames"
    if name[0] in ".-~" or name != name.strip() or name.endswith("."):
        return "begins or ends with a character that is not allowed there"
    if name.partition(".")[0].strip().upper() in RESERVED:
        return "is reserved by Windows"
    size = len(name.encode())
    return f"has {size} bytes" if size > MAX_BYTES else None


def _refusal(filename: object, fault: str) -> InvalidRequest:
    shown = f" '{one_line(filename, limit=60)}'" if isinstance(filename, str) else ""
    return InvalidRequest(
        f"The filename{shown} {fault}. Allowed: {ALLOWED}.",
        parameter="filename",
        value=filename,
        allowed=ALLOWED,
        next_step="Give a name such as 'fox' or 'hero/fox', or omit filename for an automatic name.",
    )
