"""Write complete files into an open folder atomically, without ever replacing one or following links.

If the system supports it (Linux, macOS), everything is done relative to the open folder: nobody can redirect
a write by replacing the folder, or a file in it, with a link between two steps.
"""

import errno
import math
import os
import stat
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from vllm_omni_client.imaging import rename_if_free, retry_while_held

from vllm_image_core.storage.temporary_names import is_abandoned, is_temporary, target_of, temporary_name

_JUNCTION: Final = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT; files that a cloud drive keeps elsewhere have other tags."""

_ABANDONED_SECONDS: Final = 24 * 3600
"""A save takes seconds, so no machine will ever finish a temporary file that is a day old."""

_RELATIVE: Final = {os.open, os.link, os.mkdir, os.rename, os.stat, os.unlink} <= os.supports_dir_fd
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_NO_LINKS: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _NO_LINKS
_READING: Final = os.O_RDONLY | _BINARY | _NO_LINKS | getattr(os, "O_NONBLOCK", 0)
_LOOKING: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_MODE: Final = 0o666
"""As for files created by `open`: the user's umask applies."""

_NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)
_NO_SYNC: Final = frozenset(
    {
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.ENOSYS,
        errno.EBADF,
    }  # EBADF: some shares on Windows
)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder. `descriptor` is None if the system cannot work relative to one (Windows).

    Its methods raise `OSError` if the system refuses; nothing is then left of a file that could not be
    written completely. They wait up to 2 s for a file that another program holds open, and then raise
    `FileHeld`.
    """

    path: Path
    descriptor: int | None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> "Generator[Folder]":
        """Open a folder; create it and its parents if missing."""
        create_folder(path)
        with cls.existing(path) as folder:
            yield folder

    @classmethod
    @contextmanager
    def existing(cls, path: Path) -> "Generator[Folder]":
        """Open an existing folder."""
        if not _RELATIVE:
            path.stat()  # a missing folder is an error at once, as it is for the others
            yield cls(path, None)
            return
        descriptor = os.open(path, _LOOKING)
        try:
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    @classmethod
    @contextmanager
    def within(cls, root: Path, parts: Sequence[str], *, create: bool = True) -> "Generator[Folder]":
        """Open a folder below another one, part by part; a link on the way is refused with an OSError."""
        with ExitStack() as opened:
            folder = opened.enter_context(cls.open(root) if create else cls.existing(root))
            for part in parts:
                folder = opened.enter_context(folder.below(part, create=create))
            yield folder

    @contextmanager
    def below(self, name: str, *, create: bool) -> "Generator[Folder]":
        """Open a folder in this one; if it is missing, create it if requested."""
        path = self.path / name
        if create:
            try:
                os.mkdir(self._at(name), dir_fd=self.descriptor)
                self.sync()
            except OSError:  # of a folder that is there, some systems say first that none may be created
                if not self.has(name):
                    raise
        if self.descriptor is None:
            if is_link(path) or not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            yield Folder(path, None)
            return
        descriptor = os.open(name, _LOOKING | _NO_LINKS, dir_fd=self.descriptor)
        try:
            yield Folder(path, descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def temporary(self, *content: bytes | memoryview, mode: int = _MODE) -> Generator[str]:
        """Write content into a hidden file, synced to disk; yield its unique name, and finally remove it."""
        name = temporary_name()
        descriptor = os.open(self._at(name), _NEW_FILE, mode, dir_fd=self.descriptor)
        try:
            _write(descriptor, content)
            yield name
        finally:
            # The file has its final name or has failed; what cannot be removed now is swept later.
            with suppress(OSError):
                self.remove(name)

    def create(self, name: str, *content: bytes | memoryview) -> None:
        """Write a new file under its own name, visible before it is complete, and sync it to disk."""
        descriptor = os.open(self._at(name), _NEW_FILE, _MODE, dir_fd=self.descriptor)
        try:
            _write(descriptor, content)
        except OSError:
            self.remove(name)
            raise

    def place(self, temporary: str, name: str) -> bool:
        """Give a temporary file its final name atomically; return False if that name is taken.

        Its first name may remain as a second one.
        """
        try:
            self._place(temporary, name)
        except FileExistsError:
            return False
        return True

    def replace(self, temporary: str, name: str) -> None:
        """Give a temporary file its final name atomically, in place of a file that has it."""
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        retry_while_held(partial(os.replace, self._at(temporary), self._at(name), **ends))

    def remove(self, name: str) -> None:
        """Remove a file."""
        retry_while_held(lambda: os.unlink(self._at(name), dir_fd=self.descriptor))

    def touch(self, name: str) -> None:
        """Set the modification time of a file to now."""
        retry_while_held(lambda: os.utime(self._at(name), dir_fd=self.descriptor))

    def has(self, name: str) -> bool:
        """Return whether a name is taken, whether by a file, a folder or a dangling link."""
        try:
            os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the names of everything in the folder, in no particular order."""
        return os.listdir(self.path if self.descriptor is None else self.descriptor)  # noqa: PTH208 - a Path cannot list an open folder

    def status(self, name: str) -> os.stat_result:
        """Return the status of a file; of the link itself if it is a symbolic link."""
        return os.stat(self._at(name), dir_fd=self.descriptor, follow_symlinks=False)

    def modified_ns(self) -> int:
        """Return when a name was last added to or removed from the folder, in nanoseconds since 1970."""
        status = self.path.stat() if self.descriptor is None else os.fstat(self.descriptor)
        return status.st_mtime_ns

    @contextmanager
    def reading(self, name: str) -> Generator[BinaryIO | None]:
        """Open a file for reading; yield None for anything but a regular file: a link, a folder, a pipe."""
        if not stat.S_ISREG(self.status(name).st_mode):
            yield None
            return
        # If it has become a link or a pipe since then, it is not followed and does not block.
        descriptor = os.open(self._at(name), _READING, dir_fd=self.descriptor)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def sync(self) -> None:
        """Sync the names in the folder to disk, if the system supports this."""
        if self.descriptor is not None:
            # The files themselves have been synced; some network and FUSE file systems refuse this.
            with suppress(OSError):
                sync_to_disk(self.descriptor)

    def sweep(self, *, like: str, finish: bool = False) -> None:
        """Remove temporary files whose writer is known to be dead, or that are a day older than `like`.

        Both times come from the file system, so another host's clock does not matter.

        `like` was created just now. A complete file gets its name if its writer died after reserving it and
        `finish` is set.
        """
        latest = self.status(like).st_mtime - _ABANDONED_SECONDS
        entries = list(filter(is_temporary, self.names()))
        for entry in entries:
            with suppress(OSError):  # another process may be sweeping too
                if is_abandoned(entry):
                    self._remove_abandoned(entry, entries, finish=finish)
                else:
                    self._unlink_file(entry, older_than=latest)

    def _place(self, temporary: str, name: str) -> None:
        if sys.platform != "win32" and self._link(temporary, name):
            return
        old, new = self._at(temporary), self._at(name)
        if not retry_while_held(lambda: rename_if_free(old, new, folder=self.descriptor)):
            self._reserve_and_replace(temporary, name)

    def _link(self, temporary: str, name: str) -> bool:
        """Give a file a second name; return False if hard links are not supported."""
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        try:
            os.link(self._at(temporary), self._at(name), **ends, follow_symlinks=False)
        except NotImplementedError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return False
        return True

    def _reserve_and_replace(self, temporary: str, name: str) -> None:
        """Place a file without hard links (FAT, some network shares) or a rename that never replaces.

        An empty file reserves the name first, so that no other file is ever replaced. If the process is
        killed between the two steps, that empty file remains. Therefore the name of the temporary file says
        which name it is about to get, so that a later sweep can finish the work.
        """
        marked = temporary_name(target=name)
        self._rename(temporary, marked)
        try:
            os.close(os.open(self._at(name), _NEW_FILE, _MODE, dir_fd=self.descriptor))
            try:
                self._rename(marked, name)
            except OSError:
                self.remove(name)
                raise
        except OSError:
            with suppress(OSError):
                self._rename(marked, temporary)
            raise

    def _rename(self, old: str, new: str) -> None:
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        retry_while_held(partial(os.replace, self._at(old), self._at(new), **ends))

    def _remove_abandoned(self, entry: str, entries: Sequence[str], *, finish: bool) -> None:
        """Remove a dead writer's file, or give it the name that its writer reserved with an empty file."""
        target = target_of(entry)
        # A name, which anybody may have written, must not lead out of the folder or be hidden.
        if target is None or not finish or target.startswith(".") or "/" in target or os.sep in target:
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

    def _unlink_file(self, name: str, *, older_than: float = math.inf) -> None:
        status = self.status(name)
        if stat.S_ISREG(status.st_mode) and status.st_mtime < older_than:
            self.remove(name)

    def _at(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.path / name)


def create_folder(path: Path) -> None:
    """Create a folder and its parents unless it exists, which is much the cheapest to ask first."""
    if not os.path.isdir(path):  # noqa: PTH112 - a Path raises where it may not look
        path.mkdir(parents=True, exist_ok=True)


def exists(path: Path) -> bool:
    """Return whether there is a file or a folder at a path; an OSError means that it is unknown."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _write(descriptor: int, content: Iterable[bytes | memoryview]) -> None:
    """Write all the content, sync it to disk, and always close the file."""
    try:
        for part in content:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        sync_to_disk(descriptor)
    finally:
        os.close(descriptor)


def sync_to_disk(descriptor: int) -> None:
    """Write a file's content to the disk itself: on a Mac, `fsync` leaves it in the drive's own cache.

    On a file system that cannot do that (some FUSE and network ones), nothing is done.
    """
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - Windows has none

        with suppress(OSError):  # network shares and some disks refuse it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def is_link(path: Path) -> bool:
    """Return whether a path is a symbolic link, or a junction, which is what Windows has for folders."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION
