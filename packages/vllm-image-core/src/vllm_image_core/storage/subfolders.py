"""Record which subfolders of the output folder hold saved images, so that searches include them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.filename import fold_name, is_subfolder
from vllm_image_core.storage.folder import is_link

_logger = logging.getLogger(__name__)

_FILE: Final = "subfolders.txt"
_APPENDING: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)
_MOST_BYTES: Final = 2**20


class Subfolders:
    """The subfolders of one output folder that hold images, from any process; blocks on the disk.

    They stand in a file of their own, one on each line. It is only added to, so that a lost index can be
    rebuilt. Other subfolders are never looked into.

    Args:
        root: The output folder, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / FOLDER / _FILE
        self._state: tuple[int, int] | None = None
        self._names: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the remembered subfolders that are there, such as "hero/left", without links."""
        try:
            status = self._file.stat()
        except OSError:
            return ()
        state = (status.st_size, status.st_mtime_ns)
        if state != self._state:
            self._names, self._state = tuple(self._read()), state
        return tuple(name for name in self._names if is_real_folder(self._root, name))

    def find_name(self, name: str) -> str:
        """Return the name by which a subfolder is remembered.

        On volumes that ignore case, or how accents are composed, one folder has several.
        """
        names = self.names()
        fold = fold_name(name)
        same = (other for other in names if fold_name(other) == fold and self._is_one_folder(other, name))
        return name if name in names else next(same, name)

    def _is_one_folder(self, name: str, other: str) -> bool:
        try:
            return (self._root / name).samefile(self._root / other)
        except OSError:
            return False

    def remember(self, name: str) -> None:
        """Add a subfolder; if that fails, its images are saved, but are not found."""
        if name in self.names():
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if is_link(self._file.parent):
                return
            descriptor = os.open(self._file, _APPENDING, 0o666)
            try:
                os.write(descriptor, f"{name}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            _logger.warning("Images in %s will not be found: %s", name, error)

    def _read(self) -> Iterator[str]:
        try:
            with self._file.open("rb") as file:
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return
        yield from (line for line in dict.fromkeys(lines) if is_subfolder(line))


def is_real_folder(root: Path, name: str) -> bool:
    """Return whether a subfolder exists, and neither it nor a folder in its path is a link."""
    path = root
    for part in name.split("/"):
        path /= part
        if is_link(path):
            return False
    return os.path.isdir(path)  # noqa: PTH112 - a Path raises where it may not look


def name_in(root: Path, path: Path) -> str:
    """Return the name of a file below a folder, with slashes; only its last part if it is elsewhere."""
    start, text = f"{root}{os.sep}", str(path)
    return text[len(start) :].replace(os.sep, "/") if text.startswith(start) else path.name
