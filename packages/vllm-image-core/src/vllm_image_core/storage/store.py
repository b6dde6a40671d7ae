"""Save each image in the output folder completely or not at all, under a name that was free."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

from vllm_image_core.errors import CannotSave, InvalidRequest, PictureNotSaved
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.disk_space import check_space
from vllm_image_core.storage.filename import automatic_stem, check_filename, fold_name
from vllm_image_core.storage.folder import Folder, create_folder, is_link
from vllm_image_core.storage.folder_paths import check_drive, check_file_path, check_folder_path
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.subfolders import Subfolders
from vllm_image_core.text import one_line

_Taken = Callable[[str], bool]

_MOST_MOVES = 100
"""How often a file changes its name to avoid another writer's; after that, it keeps the name it has."""

_PROBE = b"\0" * 65_536
"""Large enough to detect a full disk."""


class Store:
    """Saves images in one folder; safe to use from many threads, processes and hosts at once.

    Its methods block on the disk: under an event loop, call them in a thread. If the folder cannot be created
    or written to, they raise `CannotSave`.

    Attributes:
        root: The folder, as an absolute path; may be a symbolic link to one. Created when first needed.

    Raises:
        CannotSave: The path cannot be that of a folder.
    """

    def __init__(self, root: Path) -> None:
        self._given = Path(root)
        if "\0" in str(root):
            raise CannotSave("The path of the output folder contains a null byte.")
        try:
            self.root: Path = Path(os.path.abspath(root))  # noqa: PTH100 - Path.absolute() keeps ".."
            os.fsencode(self.root)
        except FileNotFoundError as error:
            raise CannotSave(
                f"The output folder {one_line(str(root), limit=300)} is relative to the working folder, "
                "which no longer exists.",
                next_step="Give an absolute output folder, or restart in a folder that exists.",
            ) from error
        except (OSError, UnicodeError) as error:
            raise _cannot_save(error, Path(root)) from error
        self._swept = False
        self._naming = threading.Lock()
        self._subfolders = Subfolders(self.root)

    def check_writable(self) -> None:
        """Create the folder and write a test file there, before GPU time is spent on an image.

        The first call also removes temporary files that dead writers left there; see `Folder.sweep`.
        """
        check_folder_path(self._given)
        try:
            with Folder.open(self.root) as folder, folder.temporary(_PROBE) as probe:
                if not self._swept:
                    folder.sweep(like=probe, finish=True)
                    _sweep_below(self.root)
                    self._swept = True
        except OSError as error:
            raise _cannot_save(error, self.root) from error

    def sweep(self) -> None:
        """Remove the temporary files of dead writers, unless that was done or the folder is missing."""
        if not self._swept and os.path.isdir(self.root):  # noqa: PTH112 - a Path raises without permission
            with suppress(CannotSave):
                self.check_writable()

    def check_space(self, *, pixels: int) -> None:
        """Compare the free space with what images with this total number of pixels need."""
        try:
            create_folder(self.root)
            check_space(self.root, pixels=pixels)
        except OSError as error:
            raise _cannot_save(error, self.root) from error

    def save(self, picture: Picture, *, prompt: str, now: datetime, filename: str | None = None) -> Path:
        """Write an image and return its path.

        The file appears complete, synced to disk, under a name that was free; if the name is taken, _2, _3
        and so on are appended. A given name also counts as taken if another name differs from it only in case
        or Unicode form, on every file system, because folders get copied. Nothing is ever replaced. If the
        folder was removed in the meantime, it is created again.

        Args:
            picture: The image; its format determines the extension.
            prompt: Used for the automatic name if no filename is given.
            now: The local time, used in the same way.
            filename: A name, or a path below the folder, whose folders are created; see
                `filename.check_filename` and `check_subfolder`, which callers use before generating.

        Raises:
            InvalidRequest: The filename is not allowed; nothing was written.
            PictureNotSaved: The disk is full or faulty, or the folder is not writable. Nothing of the image
                is left there; it is in the error.
        """
        given = check_filename(filename)
        try:
            if given is None:
                return self.root / self._write(picture, automatic_stem(prompt, now), _write, ())
            subfolder, _, stem = given.rpartition("/")
            folders = self._subfolders.find_name(subfolder).split("/") if subfolder else ()
            with self._naming:
                name = self._write(picture, stem, _write_without_equal_name, folders)
                return self.root.joinpath(*folders, name)
        except (OSError, UnicodeError) as error:
            refused = _cannot_save(error, self.root)
            raise PictureNotSaved(refused.message, picture=picture, next_step=refused.next_step) from error

    def check_subfolder(self, filename: str | None) -> None:
        """Refuse a filename in a folder that is a link or a file, before GPU time is spent on an image.

        Raises:
            InvalidRequest: The filename is not allowed, or leads through such a folder.
            CannotSave: Windows would refuse the path.
        """
        given = check_filename(filename)
        folders = [] if given is None else given.split("/")[:-1]
        path = self.root
        for part in folders:
            path /= part
            if is_link(path) or (os.path.lexists(path) and not os.path.isdir(path)):  # noqa: PTH112 - as above
                what = "a link" if is_link(path) else "not a folder"
                raise InvalidRequest(
                    f"filename: {part} in the output folder is {what}.",
                    parameter="filename",
                    value=filename,
                    allowed="a path through ordinary folders",
                    next_step="Choose another name.",
                )
        if folders:
            check_folder_path(path)
        if given is not None:
            check_file_path(self.root / given)

    def _write(
        self,
        picture: Picture,
        stem: str,
        write: Callable[[AbstractContextManager[Folder], Picture, str], str],
        folders: Sequence[str],
    ) -> str:
        if folders:
            self._subfolders.remember("/".join(folders))
        try:
            return write(Folder.within(self.root, folders), picture, stem)
        except FileNotFoundError:  # the folder was removed in the meantime
            return write(Folder.within(self.root, folders), picture, stem)


def _sweep_below(root: Path) -> None:
    """Sweep the subfolders, and the hidden one without finishing files: an empty file there may be valid."""
    with suppress(OSError), Folder.existing(root / FOLDER) as folder, folder.temporary(b"") as probe:
        folder.sweep(like=probe)
    for name in Subfolders(root).names():
        with (
            suppress(OSError),
            Folder.within(root, name.split("/"), create=False) as folder,
            folder.temporary(b"") as probe,
        ):
            folder.sweep(like=probe, finish=True)


def _write(opening: AbstractContextManager[Folder], picture: Picture, stem: str) -> str:
    with opening as folder:
        with folder.temporary(*picture.parts) as temporary:
            name = _place(folder, temporary, stem, picture.extension, folder.has)
        folder.sync()
        return name


def _write_without_equal_name(opening: AbstractContextManager[Folder], picture: Picture, stem: str) -> str:
    """Write an image under a name that differs from every other in more than case or Unicode form.

    Two processes may write such equal names at the same moment. Each checks again after writing, so at least
    one sees the other's file, and moves on to the next name before returning its own.
    """
    with opening as folder:
        with folder.temporary(*picture.parts) as temporary:
            name = _place(folder, temporary, stem, picture.extension, _with_equal_names(folder))
        for _ in range(_MOST_MOVES):
            if not _has_equal_name(folder, name):
                break
            name = _move(folder, name, stem, picture.extension)
        folder.sync()
        return _listed_name(folder, name)


def _move(folder: Folder, name: str, stem: str, extension: str) -> str:
    """Give a file the next free name; its image is complete under one of the two at any moment."""
    moved = _place(folder, name, stem, extension, _with_equal_names(folder))
    with suppress(OSError):  # it was renamed, or keeps its first name as well
        folder.remove(name)
    return moved


def _with_equal_names(folder: Folder) -> _Taken:
    equal_names = frozenset(map(fold_name, folder.names()))
    return lambda name: fold_name(name) in equal_names or folder.has(name)


def _has_equal_name(folder: Folder, name: str) -> bool:
    """Return whether another file has an equal name; some volumes list our own in another Unicode form."""
    fold = fold_name(name)
    return sum(fold_name(other) == fold for other in folder.names()) > 1


def _listed_name(folder: Folder, name: str) -> str:
    """Return the name of a file as its folder lists it: some volumes list accents decomposed.

    By that name, the index and whoever reads it know the file.
    """
    if name.isascii() or name in (names := folder.names()):
        return name
    ours, fold = _identity(folder, name), fold_name(name)
    same = (other for other in names if fold_name(other) == fold and _identity(folder, other) == ours)
    return next(same, name)


def _identity(folder: Folder, name: str) -> tuple[int, int] | None:
    try:
        status = folder.status(name)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _place(folder: Folder, temporary: str, stem: str, extension: str, is_taken: _Taken) -> str:
    number = _first_free(stem, extension, is_taken)
    while not folder.place(temporary, _name(stem, number, extension)):
        number += 1
        while is_taken(_name(stem, number, extension)):
            number += 1
    return _name(stem, number, extension)


def _first_free(stem: str, extension: str, is_taken: _Taken) -> int:
    """Find a free number after a taken one by doubling and bisecting, however many are taken."""
    taken, free = 0, 1
    while is_taken(_name(stem, free, extension)):
        taken, free = free, free * 2
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(_name(stem, middle, extension)) else (taken, middle)
    return free


def _name(stem: str, number: int, extension: str) -> str:
    return f"{stem}.{extension}" if number == 1 else f"{stem}_{number}.{extension}"


def _cannot_save(error: OSError | UnicodeError, root: Path) -> CannotSave:
    """Say what a system error means for the user, and what to do next."""
    try:
        check_drive(root)
    except CannotSave as gone:
        return gone
    message = f"Cannot save images in {one_line(str(root), limit=300)}: {reason_of(error)}."
    if isinstance(error, FileExistsError) and os.path.islink(root):  # noqa: PTH114 - a Path raises without permission
        next_step = (
            "It is a symbolic link to a file, to nothing or to itself: correct the link, or choose another "
            "output folder."
        )
        return CannotSave(message, next_step=next_step)
    return CannotSave(message, next_step=next_step_after(error, otherwise=CannotSave.usual_next_step))
