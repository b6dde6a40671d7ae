"""The folder for pictures: the one that was asked for, or the user's Pictures where that cannot be."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_pictures_path
from vllm_image_core.errors import CannotSave
from vllm_image_core.store import Store

__all__ = ["Folder", "usable_folder"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, and a sentence about it where it is not the one that was asked for."""

    path: Path
    note: str | None = None


def usable_folder(asked: Path) -> Folder:
    """The folder that was asked for; for a relative one in a working folder that cannot be written, another.

    Hosts start servers in ``/`` and the like, where a relative folder means nothing. An absolute one was
    meant: it stays, and saving says what is wrong with it. So it does where the other one is no better.
    """
    folder = asked.expanduser()
    if folder.is_absolute():
        return Folder(folder)
    folder = Path.cwd() / folder
    instead = user_pictures_path() / asked.name
    refusal = _refusal(folder)
    if refusal is None or _refusal(instead):
        return Folder(folder)
    note = f"Pictures are saved in {instead}, because {folder} cannot be written."
    _logger.warning("%s %s", note, refusal.message)
    return Folder(instead, note)


def _refusal(folder: Path) -> CannotSave | None:
    """Why nothing can be saved in a folder, None where it can; one that is not there is not made yet."""
    there = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    try:
        Store(there).check_writable()
    except CannotSave as error:
        return error
    return None
