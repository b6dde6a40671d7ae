"""Choose the output folder: the requested one, or the user's Pictures folder if it is unusable."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from vllm_image_core.errors import CannotSave
from vllm_image_core.storage.folder_paths import check_folder_path
from vllm_image_core.storage.store import Store
from vllm_image_core.text import LONGEST_PATH, one_line

from vllm_image_mcp.known_folders import pictures_folder

_logger = logging.getLogger(__name__)

_NOTHING_SENT = " Nothing was sent."
"""The end of a refusal, which is not true of images that are saved in another folder."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The output folder, with a note if it is not the requested one.

    Attributes:
        path: The absolute path.
        note: A sentence if another folder was requested; None otherwise.
        refusal: Why nothing can be saved there; None if no problem is known.
    """

    path: Path
    note: str | None = None
    refusal: CannotSave | None = None

    def check(self) -> None:
        """Refuse work that needs an unusable folder, before anything is sent: raise CannotSave."""
        if self.refusal is not None:
            raise CannotSave(self.refusal.message, next_step=self.refusal.next_step)


def usable_folder(asked: Path, *, or_elsewhere: bool = True) -> OutputFolder:
    """Return the requested folder, or a replacement if it is relative and cannot be written.

    Hosts start servers in ``/`` and the like, or remove the working folder, so that a relative path means
    nothing. An absolute folder is always used as it is, and saving reports what is wrong with it. The same
    holds if the replacement cannot be written either.
    """
    folder = asked.expanduser()
    if _is_absolute(folder):
        return _check(folder)
    try:
        folder = Path.cwd() / folder
    except OSError:
        return _without_working_folder(asked, or_elsewhere=or_elsewhere)
    here = _check(folder)
    refusal = here.refusal or refusal_of(folder)
    if refusal is None or not or_elsewhere:
        return here
    return _instead(asked, f"{one_line(str(folder), limit=LONGEST_PATH)} cannot be written", refusal) or here


def folder_without_terminal(asked: Path) -> OutputFolder:
    """Return the folder of a server that a host started, unless the user named one.

    That is ``vllm-image`` in the user's Pictures folder: the working folder is a host's, and may be one that
    the next update of the host deletes. If nothing can be saved there, `asked` is used.
    """
    try:
        path = pictures_folder() / "vllm-image"
    except (OSError, RuntimeError, KeyError, ValueError):  # the user has no home folder
        return usable_folder(asked)
    if not path.is_absolute() or _check(path).refusal or refusal_of(path):
        return usable_folder(asked)
    return OutputFolder(path)


def _is_absolute(folder: Path) -> bool:
    r"""Return whether a path is not relative to the working folder; `D:x` is relative to a drive's own."""
    return folder.is_absolute() or (sys.platform == "win32" and bool(PureWindowsPath(folder).drive))


def _without_working_folder(asked: Path, *, or_elsewhere: bool) -> OutputFolder:
    refusal = CannotSave(
        f"The output folder {one_line(str(asked), limit=LONGEST_PATH)} is relative to the working folder, "
        f"which no longer exists.{_NOTHING_SENT}",
        next_step="Start this program in a folder that exists, or set an absolute output folder.",
    )
    instead = _instead(asked, "the working folder no longer exists", refusal) if or_elsewhere else None
    return instead or OutputFolder(Path(asked.anchor or os.sep) / asked, refusal=refusal)


def _instead(asked: Path, why: str, refusal: CannotSave) -> OutputFolder | None:
    """Return a folder in the user's Pictures folder, if images can be saved there."""
    path = pictures_folder() / asked.name
    if not path.is_absolute() or _check(path).refusal or refusal_of(path):
        return None
    note = f"Images are saved in {path}, because {why}."
    _logger.warning("%s %s", note, refusal.message.removesuffix(_NOTHING_SENT))
    return OutputFolder(path, note)


def _check(path: Path) -> OutputFolder:
    """Return the folder, refused if its path is not valid UTF-8 and so cannot be reported in JSON."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return OutputFolder(
            path,
            refusal=CannotSave(
                f"The path of the output folder, {one_line(str(path), limit=LONGEST_PATH)}, is not valid "
                f"UTF-8, so no result could say where an image is.{_NOTHING_SENT}",
                next_step="Choose an output folder whose path is valid UTF-8, or rename that folder.",
            ),
        )
    return OutputFolder(path)


def refusal_of(folder: Path) -> CannotSave | None:
    """Say why nothing can be saved in a folder; None if it can. A missing folder is not created."""
    try:
        check_folder_path(folder)
        Store(existing_part(folder)).check_writable()
    except CannotSave as error:
        return error
    return None


def existing_part(folder: Path) -> Path:
    """Return the folder if it exists, and otherwise the nearest one above it that does.

    If there is none, because its drive is missing, return the folder.
    """
    return next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), folder)
