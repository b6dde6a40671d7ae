"""One open folder, into which whole files are put under names that are free.

Everything is done relative to the folder itself where the system can do that (Linux, macOS): nobody can
redirect a write by swapping the folder, or a file in it, for a link between two steps.
"""

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vllm_omni_client._imaging.rename import rename_if_free

from vllm_image_core.storage.temporary_names import is_abandoned, is_temporary, target_of, temporary_name

_ABANDONED_SECONDS: Final = 24 * 3600
"""A save takes seconds; a temporary file of yesterday has nobody who would finish it, on any machine."""

_RELATIVE: Final = {os.open, os.link, os.rename, os.stat, os.unlink} <= os.supports_dir_fd
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_NO_LINKS: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _NO_LINKS
_READING: Final = os.O_RDONLY | _BINARY | _NO_LINKS | getattr(os, "O_NONBLOCK", 0)
_MODE: Final = 0o666
"""As `open` makes files: the user's umask decides."""

_NO_HARD_LINKS: Final = frozenset(
    (
        errno.EPERM,
        errno.EACCES,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.ENOSYS,
        errno.EMLINK,
        errno.EINVAL,
    )
)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder. `descriptor` is None where the system cannot work relative to one (Windows)."""

    path: Path
    descriptor: int | None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> "Generator[Folder]":
        """Open a folder, made with its parents where it is missing.

        Raises:
            OSError: It cannot be made or opened.
        """
        path.mkdir(parents=True, exist_ok=True)
        with cls.existing(path) as folder:
            yield folder

    @classmethod
    @contextmanager
    def existing(cls, path: Path) -> "Generator[Folder]":
        """Open a folder that is there.

        Raises:
            OSError: It cannot be opened.
        """
        if not _RELATIVE:
            yield cls(path, None)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def temporary(self, content: bytes) -> Generator[str]:
        """A hidden file with this content, on the disk itself, under a name of its own; removed at the end.

        Raises:
            OSError: It cannot be written whole; nothing is left of it.
        """
        name = temporary_name()
        descriptor = os.open(self._at(name), _NEW_FILE, _MODE, dir_fd=self.descriptor)
        try:
            _write(descriptor, content)
            yield name
        finally:
            # Its link or its loss is decided by now; what cannot be removed is swept another day.
            with suppress(OSError):
                os.unlink(self._at(name), dir_fd=self.descriptor)

    def place(self, temporary: str, name: str) -> bool:
        """Give a temporary file its name, in one step; False where that name is taken.

        Raises:
            OSError: The file cannot be given a name.
        """
        try:
            self._place(temporary, name)
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a name.

        Raises:
            OSError: It cannot be removed.
        """
        os.unlink(self._at(name), dir_fd=self.descriptor)

    def touch(self, name: str) -> None:
        """Make a file as young as if it were written now.

        Raises:
            OSError: It cannot be changed.
        """
        os.utime(self._at(name), dir_fd=self.descriptor)

    def has(self, name: str) -> bool:
        """Whether a name is taken, by whatever: a file, a folder, a link to nowhere."""
        try:
            os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """The names of everything in the folder, in no order."""
        return os.listdir(self.path if self.descriptor is None else self.descriptor)  # noqa: PTH208 - a Path cannot list an open folder

    def status(self, name: str) -> os.stat_result:
        """The system's facts of a name, of a link itself where it is one.

        Raises:
            OSError: There is nothing of that name.
        """
        return os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)

    def modified_ns(self) -> int:
        """When a name was last added to the folder or removed, in nanoseconds since 1970."""
        status = self.path.stat() if self.descriptor is None else os.fstat(self.descriptor)
        return status.st_mtime_ns

    @contextmanager
    def reading(self, name: str) -> Generator[BinaryIO | None]:
        """A file, opened to be read; None for what is no file: a link, a folder, a pipe.

        Raises:
            OSError: It cannot be opened.
        """
        if not stat.S_ISREG(self.status(name).st_mode):
            yield None
            return
        # What has become a link or a pipe since then is neither followed nor waited for.
        descriptor = os.open(self._at(name), _READING, dir_fd=self.descriptor)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def sync(self) -> None:
        """Bring the names in the folder to the disk, where the system can do that."""
        if self.descriptor is not None:
            # The files themselves are safe already; some network and FUSE file systems refuse this.
            with suppress(OSError):
                os.fsync(self.descriptor)

    def sweep(self, *, like: str, finish: bool = False) -> None:
        """Remove the temporary files of dead writers: known to be dead, or a day older than the file `like`.

        Both times are the file system's own, so that another host's clock does not matter.

        Args:
            like: A file that was made just now.
            finish: Whether a whole file whose writer died with its name reserved gets that name.
        """
        latest = self.status(like).st_mtime - _ABANDONED_SECONDS
        entries = list(filter(is_temporary, self.names()))
        for entry in entries:
            with suppress(OSError):  # another process may be sweeping too
                if is_abandoned(entry):
                    self._remove_abandoned(entry, entries, finish=finish)
                else:
                    self._remove_if_older(entry, latest)

    def _place(self, temporary: str, name: str) -> None:
        if os.name == "nt":
            Path(self._at(temporary)).rename(self._at(name))  # on Windows this never replaces
            return
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        try:
            os.link(self._at(temporary), self._at(name), **ends, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if not rename_if_free(self._at(temporary), self._at(name), folder=self.descriptor):
                self._reserve_and_replace(temporary, name)

    def _reserve_and_replace(self, temporary: str, name: str) -> None:
        """The same if there are no hard links (FAT, some network shares), nor a rename that never replaces.

        The name is taken by an empty file first, so that nobody's file is ever replaced. Killed between
        these two steps, a process leaves that empty file. So the temporary file says which name it is about
        to get, and whoever sweeps finds both.
        """
        marked = temporary_name(target=name)
        self._rename(temporary, marked)
        try:
            os.close(os.open(self._at(name), _NEW_FILE, _MODE, dir_fd=self.descriptor))
            try:
                self._rename(marked, name)
            except OSError:
                os.unlink(self._at(name), dir_fd=self.descriptor)
                raise
        except OSError:
            with suppress(OSError):
                self._rename(marked, temporary)
            raise

    def _rename(self, old: str, new: str) -> None:
        os.rename(self._at(old), self._at(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def _remove_abandoned(self, entry: str, entries: Sequence[str], *, finish: bool) -> None:
        """Remove a dead writer's file, or give it the name that its writer had reserved with an empty one."""
        target = target_of(entry)
        if target is None or not finish or _is_elsewhere(target):
            self._unlink_file(entry)
            return
        others = (other for other in entries if other != entry and target_of(other) == target)
        if self._is_empty_file(target) and all(map(is_abandoned, others)):
            self._rename(entry, target)
        else:
            self._unlink_file(entry)

    def _is_empty_file(self, name: str) -> bool:
        try:
            status = self.status(name)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == 0

    def _unlink_file(self, name: str) -> None:
        if stat.S_ISREG(self.status(name).st_mode):
            os.unlink(self._at(name), dir_fd=self.descriptor)

    def _remove_if_older(self, name: str, latest: float) -> None:
        status = self.status(name)
        if stat.S_ISREG(status.st_mode) and status.st_mtime < latest:
            os.unlink(self._at(name), dir_fd=self.descriptor)

    def _at(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)


def _is_elsewhere(name: str) -> bool:
    """Whether a name, which anybody may have written, leads out of the folder, or to what is hidden there."""
    return name.startswith(".") or "/" in name or os.sep in name


def is_there(path: Path) -> bool:
    """Whether there is a file or a folder at a path.

    Raises:
        OSError: That cannot be found out, as where a folder on the way may not be entered.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _write(descriptor: int, content: bytes) -> None:
    """Write all of it, bring it to the disk, and close the file, whatever happens."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
