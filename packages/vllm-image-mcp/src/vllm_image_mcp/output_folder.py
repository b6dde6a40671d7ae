"""The folder for pictures: the one that was asked for, or the user's Pictures where that cannot be."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_pictures_path
from vllm_image_core.errors import CannotSave
from vllm_image_core.storage.store import Store
from vllm_image_core.text import LONGEST_PATH, one_line

__all__ = ["OutputFolder", "usable_folder"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder, and what there is to say about it.

    Attributes:
        path: Absolute.
        note: A sentence where it is not the one that was asked for.
        refusal: Why nothing can be made there; None where nothing is known against it.
    """

    path: Path
    note: str | None = None
    refusal: CannotSave | None = None

    def check(self) -> None:
        """Refuse work that needs the folder, before anything is sent.

        Raises:
            CannotSave: Nothing can be made there.
        """
        if self.refusal is not None:
            raise CannotSave(self.refusal.message, next_step=self.refusal.next_step)


def usable_folder(asked: Path, *, or_elsewhere: bool = True) -> OutputFolder:
    """The folder that was asked for; for a relative one in a working folder that cannot be written, another.

    Hosts start servers in ``/`` and the like, or remove the folder: a relative one means nothing there. An
    absolute one was meant: it stays, and saving says what is wrong with it. So it does if the other one is no
    better.

    Args:
        asked: As it stands in the settings.
        or_elsewhere: Whether images may go to the user's Pictures folder instead of a relative one.
    """
    folder = asked.expanduser()
    if folder.is_absolute():
        return _check(folder)
    try:
        folder = Path.cwd() / folder
    except OSError:
        return _without_working_folder(asked, or_elsewhere=or_elsewhere)
    here = _check(folder)
    refusal = here.refusal or _refusal(folder)
    if refusal is None or not or_elsewhere:
        return here
    return _instead(asked, f"{one_line(str(folder), limit=LONGEST_PATH)} cannot be written", refusal) or here


def _without_working_folder(asked: Path, *, or_elsewhere: bool) -> OutputFolder:
    refusal = CannotSave(
        f"The output folder {one_line(str(asked), limit=LONGEST_PATH)} is relative to the working folder, "
        "which no longer exists. Nothing was sent.",
        next_step="Start this program in a folder that exists, or give an absolute output folder.",
    )
    instead = _instead(asked, "the working folder no longer exists", refusal) if or_elsewhere else None
    return instead or OutputFolder(Path(asked.anchor or os.sep) / asked, refusal=refusal)


def _instead(asked: Path, why: str, refusal: CannotSave) -> OutputFolder | None:
    """The user's Pictures folder, if images can be saved there."""
    path = user_pictures_path() / asked.name
    if not path.is_absolute() or _check(path).refusal or _refusal(path):
        return None
    note = f"Pictures are saved in {path}, because {why}."
    _logger.warning("%s %s", note, refusal.message)
    return OutputFolder(path, note)


def _check(path: Path) -> OutputFolder:
    """The folder, refused if its path is not text: an answer is JSON, and could not say where an image is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return OutputFolder(
            path,
            refusal=CannotSave(
                f"The path of the output folder, {one_line(str(path), limit=LONGEST_PATH)}, is not valid "
                "UTF-8, so no answer could say where an image is. Nothing was sent.",
                next_step="Choose an output folder whose path is valid UTF-8, or rename that folder.",
            ),
        )
    return OutputFolder(path)


def _refusal(folder: Path) -> CannotSave | None:
    """Why nothing can be saved in a folder, None where it can; one that is not there is not made yet."""
    there = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    try:
        Store(there).check_writable()
    except CannotSave as error:
        return error
    return None
