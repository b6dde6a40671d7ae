"""Test whether a file system supports file locks, and remove lock files that dead processes left.

Some network shares and FUSE file systems refuse the locks that SQLite takes. On these, SQLite is opened with
its VFS "unix-dotfile", which locks by creating a folder next to the file: that works everywhere, between
processes and machines. A killed process leaves the folder behind, so a folder that has not changed for long
is removed.
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

LOCK_FILES: Final = "unix-dotfile"
"""SQLite's VFS for file systems without locks."""

ABANDONED_SECONDS: Final = 15.0
"""A lock file this old was left by a dead process: a transaction takes milliseconds."""

_HELD: Final = frozenset((errno.EACCES, errno.EAGAIN))
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL


def can_lock(folder: Path) -> bool:
    """Return whether files in a folder can be locked, by creating one; True if that cannot be tested."""
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - Windows has none

    try:
        with _probe(folder) as descriptor:
            return _is_lockable(descriptor, fcntl.lockf, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True


def remove_abandoned(database: Path) -> bool:
    """Remove the lock file of a database if its owner appears dead; return whether it was removed."""
    lock, aside = Path(f"{database}.lock"), Path(f"{database}.lock-{secrets.token_hex(8)}")
    try:
        taken = lock.stat().st_mtime
        with _probe(database.parent) as descriptor:  # by the clock of the file system
            if os.fstat(descriptor).st_mtime - taken < ABANDONED_SECONDS:
                return False
        lock.rename(aside)  # if several processes try, one succeeds
        aside.rmdir()
    except OSError:  # it is gone, or not ours to remove
        return False
    return True


@contextmanager
def _probe(folder: Path) -> Generator[int]:
    """Create and open a new file, and remove it afterwards."""
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
