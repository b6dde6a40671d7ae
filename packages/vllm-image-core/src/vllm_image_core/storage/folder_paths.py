"""Check a folder's path before any work: find what the system would refuse or silently change.

Windows drops dots and spaces at the end of a name, opens devices by reserved names, and refuses paths of 260
characters or more with "not found". Its error for a missing drive is no clearer. A Mac reports "permission
denied", or creates the folder on its own disk.
"""

import os
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from vllm_image_core.errors import CannotSave
from vllm_image_core.storage.filename import FORBIDDEN, RESERVED
from vllm_image_core.text import one_line

VERBATIM: Final = "\\\\?\\"
"""The start of a path that Windows takes as it is, however long."""
_MOST_CHARACTERS: Final = 259
"""MAX_PATH without the NUL at its end."""
_ROOM: Final = 92
r"""What our longest file needs below the folder: `\.vllm-image\inputs\` and a hash with an extension."""
_SHOWN: Final = 300
"""Characters of a path that a message shows."""
_VOLUMES: Final = "volumes"
_PARTS_OF_A_VOLUME: Final = 3
"""/Volumes/NAME: where a Mac mounts other disks and shares."""
_ROOM_OF_AN_IMAGE: Final = len(r"rejected\_99.webp")
_LONG_PATHS: Final = (r"SYSTEM\CurrentControlSet\Control\FileSystem", "LongPathsEnabled")
_ENABLE_LONG_PATHS: Final = (
    f"or let Windows use long paths: set {_LONG_PATHS[1]} to 1 in the registry under "
    f"HKEY_LOCAL_MACHINE\\{_LONG_PATHS[0]}, and restart"
)


def check_folder_path(folder: Path) -> None:
    """Check the path of a folder as it was given, if this is Windows or a Mac.

    Raises:
        CannotSave: A name in it cannot be that of a folder, its drive is missing, or it is too long.
    """
    if sys.platform == "win32":
        _check_names(folder)
    check_drive(folder)
    if sys.platform == "win32":
        _check_length(folder)


def check_file_path(path: Path) -> None:
    """Check the absolute path of a new image, without its extension, if this is Windows.

    Raises:
        CannotSave: It is too long for this Windows, here or in the folder of rejected images.
    """
    length, most = _length(str(path)), _MOST_CHARACTERS - _ROOM_OF_AN_IMAGE
    if sys.platform != "win32" or length <= most or _may_be_long(path):
        return
    raise CannotSave(
        f"The path of the image would have {length} characters without its extension: "
        f"{one_line(str(path), limit=_SHOWN)}. This Windows allows {most}.",
        next_step=f"Choose a filename with at most {len(path.name) - (length - most)} characters, "
        f"{_ENABLE_LONG_PATHS}.",
    )


def check_drive(folder: Path) -> None:
    """Check that the drive or the network folder of a path is there, on Windows or a Mac; see above."""
    drive = _drive_of(folder)
    if not drive or os.path.exists(drive):  # noqa: PTH110 - a Path raises without permission
        return
    is_share = drive.removeprefix(VERBATIM).startswith(("\\\\", "//", "UNC\\"))
    name = f"The network folder {drive}" if is_share else f"The drive {drive}"
    raise CannotSave(
        f"{one_line(name, limit=_SHOWN)} is not there, so images cannot be saved in "
        f"{one_line(str(folder), limit=_SHOWN)}.",
        next_step="Connect it, or choose another output folder.",
    )


def name_fault(name: str) -> str | None:
    """Say why Windows would not open a file or folder of this name as such; None if it would."""
    if name in {".", ".."}:
        return None
    if name != name.rstrip(". "):
        return "ends with a dot or a space, which Windows would remove"
    if FORBIDDEN & set(name):
        return 'contains one of < > : " | ? *, which Windows does not allow'
    if name.partition(".")[0].strip().upper() in RESERVED:
        return "is reserved by Windows"
    return None


def _drive_of(folder: Path) -> str:
    """Return the root of the drive that a path names; "" if it names none."""
    if sys.platform == "win32":
        anchor = PureWindowsPath(str(folder)).anchor
        return anchor if anchor.strip("\\/") else ""
    if sys.platform == "darwin":
        parts = PurePosixPath(os.path.normpath(folder)).parts
        if len(parts) >= _PARTS_OF_A_VOLUME and parts[1].casefold() == _VOLUMES:
            return str(PurePosixPath(*parts[:_PARTS_OF_A_VOLUME]))
    return ""


def _check_names(folder: Path) -> None:
    path = PureWindowsPath(str(folder))
    for name in path.parts[1:] if path.anchor else path.parts:
        if (reason := name_fault(name)) is not None:
            raise CannotSave(
                f"Images cannot be saved in {one_line(str(folder), limit=_SHOWN)}: the name "
                f"'{one_line(name)}' {reason}.",
                next_step="Choose another output folder.",
            )


def _check_length(folder: Path) -> None:
    length, most = _length(os.path.abspath(folder)), _MOST_CHARACTERS - _ROOM  # noqa: PTH100 - Path.absolute() keeps ".."
    if length <= most or _may_be_long(folder):
        return
    raise CannotSave(
        f"The path of the output folder has {length} characters: "
        f"{one_line(str(folder), limit=_SHOWN)}. This Windows allows {_MOST_CHARACTERS} for each file, "
        f"and the files in the folder need up to {_ROOM} of them.",
        next_step=f"Choose an output folder with at most {most} characters, {_ENABLE_LONG_PATHS}.",
    )


def _length(path: str) -> int:
    """Return the length of a path as Windows counts it, in units of UTF-16."""
    return len(path.encode("utf-16-le", "surrogatepass")) // 2


def _may_be_long(path: Path) -> bool:
    return str(path).startswith(VERBATIM) or _long_paths_are_enabled()


def _long_paths_are_enabled() -> bool:
    try:
        import winreg  # noqa: PLC0415 - only Windows has it

        registry: Any = winreg
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, _LONG_PATHS[0]) as key:
            return bool(registry.QueryValueEx(key, _LONG_PATHS[1])[0])
    except (ImportError, OSError):
        return False
