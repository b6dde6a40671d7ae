"""The folder of the pictures: each written whole or not at all, under a name of its own, nowhere else."""

import errno
import os
from datetime import datetime
from pathlib import Path

from vllm_image_core.errors import CannotSave
from vllm_image_core.filename import automatic_stem, check_filename
from vllm_image_core.folder import Folder
from vllm_image_core.picture import Picture
from vllm_image_core.text import one_line

_PROBE = b"\0" * 65_536
"""Enough that a full disk is found."""

_NEXT_STEPS = {
    errno.ENOSPC: "Free some space on that disk, or choose another output folder.",
    errno.EDQUOT: "Your quota on that disk is used up: remove files, or choose another output folder.",
    errno.EFBIG: "The system limits how large a file may be (ulimit -f): raise it, or choose another folder.",
    errno.EROFS: "That disk is read-only: choose another output folder.",
    errno.EACCES: "Choose an output folder that you may write to, or change that folder's permissions.",
    errno.EPERM: "Choose an output folder that you may write to, or change that folder's permissions.",
    errno.ENOTDIR: "A file is in the way: choose another output folder.",
    errno.EEXIST: "A file is in the way: choose another output folder.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n), or make fewer pictures at once.",
    errno.ENAMETOOLONG: "Choose an output folder with a shorter path.",
}


class PictureNotSaved(CannotSave):
    """A picture that was made and could not be written; it is in the error, and not lost.

    Attributes:
        picture: The picture.
    """

    usual_next_step = CannotSave.usual_next_step

    def __init__(self, message: str, *, picture: Picture, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.picture = picture


class Store:
    """Saves pictures in one folder, safely also from many threads, processes and hosts at once.

    Its methods wait for the disk: call them from a thread where an event loop runs.

    Attributes:
        root: The folder, as an absolute path; may be a symbolic link to one. Made when it is first needed.

    Raises:
        CannotSave: The path can be that of no folder.
    """

    def __init__(self, root: Path) -> None:
        if "\0" in str(root):
            raise CannotSave("The path of the output folder has a zero byte in it.")
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - Path.absolute() keeps ".."
        self._swept = False

    def check_writable(self) -> None:
        """Make the folder and write a file there as a test, before a GPU works for nothing.

        The first time, temporary files that dead writers left there a day or more ago are removed.

        Raises:
            CannotSave: The folder cannot be made or written.
        """
        try:
            with Folder.opened(self.root) as folder, folder.temporary(_PROBE) as probe:
                if not self._swept:
                    folder.sweep(like=probe)
                    self._swept = True
        except OSError as error:
            message, next_step = _told(error, self.root)
            raise CannotSave(message, next_step=next_step) from error

    def save(self, picture: Picture, *, prompt: str, now: datetime, filename: str | None = None) -> Path:
        """Write a picture, and return where it is.

        It becomes visible whole, on the disk, under a name that was free; a taken name gets _2, _3, and so
        on. Nothing is ever replaced. A folder that was removed meanwhile is made again.

        Args:
            picture: Its own format decides on the extension.
            prompt: For the name, where none is given.
            now: The local time, likewise.
            filename: A plain name; see `filename.check_filename`, which a caller asks before generating.

        Raises:
            InvalidRequest: The filename is not allowed; nothing was written.
            PictureNotSaved: The disk is full or broken, or the folder cannot be written. Nothing of the
                picture is left there; it is in the error.
        """
        stem = check_filename(filename) or automatic_stem(prompt, now)
        try:
            return self.root / self._written(picture, stem)
        except OSError as error:
            message, next_step = _told(error, self.root)
            raise PictureNotSaved(message, picture=picture, next_step=next_step) from error

    def _written(self, picture: Picture, stem: str) -> str:
        try:
            return _write(self.root, picture, stem)
        except FileNotFoundError:  # the folder was removed under us
            return _write(self.root, picture, stem)


def _write(root: Path, picture: Picture, stem: str) -> str:
    with Folder.opened(root) as folder:
        with folder.temporary(picture.bytes) as temporary:
            number = _first_free(folder, stem, picture.extension)
            while not folder.place(temporary, _name(stem, number, picture.extension)):
                number += 1
        folder.sync()
        return _name(stem, number, picture.extension)


def _first_free(folder: Folder, stem: str, extension: str) -> int:
    """A number whose name is free and whose predecessor's is taken, in few looks however many there are."""
    taken, free = 0, 1
    while folder.has(_name(stem, free, extension)):
        taken, free = free, free * 2
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if folder.has(_name(stem, middle, extension)) else (taken, middle)
    return free


def _name(stem: str, number: int, extension: str) -> str:
    return f"{stem}.{extension}" if number == 1 else f"{stem}_{number}.{extension}"


def _told(error: OSError, root: Path) -> tuple[str, str]:
    """What a system's error means for the user, and what to do next."""
    code = errno.errorcode.get(error.errno or 0, "no error number")
    reason = one_line(error.strerror or str(error))
    message = f"Cannot save pictures in {one_line(str(root), limit=300)}: {reason} ({code})."
    return message, _NEXT_STEPS.get(error.errno or 0, CannotSave.usual_next_step)
