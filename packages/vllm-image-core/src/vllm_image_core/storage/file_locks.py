"""Locks of files: whether a folder's file system has any, and SQLite's lock files where it has none.

Some network shares and FUSE file systems refuse the locks that SQLite takes. There it is opened with its VFS
"unix-dotfile", which locks by making a folder beside the file: that works everywhere, between processes and
machines. A process that is killed leaves the folder, so one that has stood still for long is removed.
"""

import errno
import os
import secrets
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vllm_image_core.storage.temporary_names import temporary_name

__all__ = ["ABANDONED_SECONDS", "LOCK_FILES", "can_lock", "remove_abandoned"]

LOCK_FILES: Final = "unix-dotfile"
"""SQLite's VFS for file systems without locks."""

ABANDONED_SECONDS: Final = 15.0
"""A lock file that has not changed for so long is a dead process's: a transaction takes milliseconds."""

_HELD: Final = frozenset((errno.EACCES, errno.EAGAIN))
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL


def can_lock(folder: Path) -> bool:
    """Whether files of a folder can be locked; True as well if that cannot be tried. A file is made there."""
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - Windows has none

    try:
        with _probe(folder) as descriptor:
            return _is_lockable(descriptor, fcntl.lockf, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True


def remove_abandoned(database: Path) -> bool:
    """Remove the lock file of a database whose owner is dead by all appearances; whether it was removed."""
    lock, aside = Path(f"{database}.lock"), Path(f"{database}.lock-{secrets.token_hex(8)}")
    try:
        taken = lock.stat().st_mtime
        with _probe(database.parent) as descriptor:  # by the file system's own clock
            if os.fstat(descriptor).st_mtime - taken < ABANDONED_SECONDS:
                return False
        lock.rename(aside)  # of several processes, one has it
        aside.rmdir()
    except OSError:  # it is gone, or not ours to remove
        return False
    return True


@contextmanager
def _probe(folder: Path) -> Generator[int]:
    """A new file, open, which is removed again."""
    path = folder / temporary_name()
    descriptor = os.open(path, _NEW_FILE, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()


def _is_lockable(descriptor: int, lock: Callable[[int, int], object], how: int) -> bool:
    try:
        lock(descriptor, how)
    except OSError as error:
        return error.errno in _HELD
    return True
