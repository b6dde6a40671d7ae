"""Write files that appear under their name complete, or not at all."""

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vllm_omni_client._imaging.held_files import retry_while_held
from vllm_omni_client._imaging.rename import rename_if_free
from vllm_omni_client.errors import InvalidParameter

_NAME_BYTES: Final = 4
_NAME_PREFIX_BYTES: Final = 120


class NewFile:
    """A new file, written under a temporary name next to its path, then moved there in one step.

    Leaving the block without `commit` deletes it; what a killed process left of the same file is deleted when
    the next one begins. If another program holds the file open, it waits up to 2 s. The data is not synced to
    disk; protecting it against power cuts is up to the caller.

    Raises:
        InvalidParameter: A file exists at that path, or cannot be created there.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path: Path = path.absolute()
        self._overwrite = overwrite
        try:
            there = _is_there(self.path)
            if there and not overwrite:
                raise InvalidParameter(f"into = {str(path)!r}: the file already exists", parameter="into")
            _remove_abandoned(self.path)
            self._temporary, self._file = _create_temporary(self.path)
            self._lock = None if sys.platform == "win32" else os.dup(self._file.fileno())
        except OSError as error:
            raise InvalidParameter(
                f"into = {str(path)!r}: {error.strerror or error}", parameter="into"
            ) from error
        except ValueError as error:
            raise InvalidParameter(f"into = {str(path)!r}: {error}", parameter="into") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._file.close()
        with contextlib.suppress(OSError):  # it was committed; what is held now is removed with the next file
            retry_while_held(self._temporary.unlink)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restart(self) -> None:
        """Discard everything written so far."""
        self._file.seek(0)
        self._file.truncate()

    def write(self, data: bytes | memoryview) -> None:
        """Append data. Raises OSError, for example if the disk is full."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def commit(self) -> Path:
        """Move the file to its final path and return that path; someone may have created a file there."""
        self._file.close()
        if self._overwrite:
            retry_while_held(lambda: self._temporary.replace(self.path))
        else:
            _put_if_free(self._temporary, self.path)
        return self.path


def _create_temporary(path: Path) -> tuple[Path, FileIO]:
    """Create a temporary file next to `path` and lock it for as long as it is written."""
    while True:
        temporary = path.parent / f".{_prefix(path)}.{secrets.token_hex(_NAME_BYTES)}.tmp"
        file = FileIO(temporary, "xb")
        if _lock(file.fileno()) is not False and temporary.exists():
            return temporary, file
        file.close()  # another process took it for abandoned before it was locked, and removes it


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote a file with this name."""
    name = re.compile(rf"\.{re.escape(_prefix(path))}\.[0-9a-f]{{{2 * _NAME_BYTES}}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                _remove_if_unlocked(Path(entry.path))


def _remove_if_unlocked(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            temporary.unlink()  # Windows refuses it while the file is open
            return
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _lock(descriptor):
                temporary.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if another one has it locked, None if that is unknown."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 - Windows has none

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _prefix(path: Path) -> str:
    """Return the start of a file's name, within file-system name limits, which count bytes."""
    return os.fsencode(path.name)[:_NAME_PREFIX_BYTES].decode(errors="ignore")


def _is_there(path: Path) -> bool:
    """Say whether a path exists, even as a dangling link; raise OSError if no file can be there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return True


def _put_if_free(temporary: Path, path: Path) -> None:
    """Move a file to a free name; without such a move, create the name first to reserve it."""
    if _link(temporary, path) or retry_while_held(lambda: rename_if_free(temporary, path)):
        return
    path.open("xb").close()
    try:
        retry_while_held(lambda: temporary.replace(path))
    except OSError:
        with contextlib.suppress(OSError):
            retry_while_held(path.unlink)
        raise


def _link(temporary: Path, path: Path) -> bool:
    """Give a file its final name as a second one; False if hard links are not supported."""
    if sys.platform == "win32":
        return False  # a rename never replaces there, and leaves no first name to remove
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        return False
    return True


def write_file(data: bytes, path: Path, *, overwrite: bool) -> Path:
    """Write a complete file or none; return its absolute path."""
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} already exists; overwrite=True replaces it")
    try:
        new = NewFile(path, overwrite=overwrite)
    except InvalidParameter as error:
        raise error.__cause__ or error from None
    with new:
        new.write(data)
        return new.commit()
