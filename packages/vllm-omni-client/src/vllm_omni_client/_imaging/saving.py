"""Write files that appear under their name complete, or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vllm_omni_client._imaging.rename import rename_if_free
from vllm_omni_client.errors import InvalidParameter

_NAME_BYTES: Final = 4
_NAME_PREFIX_BYTES: Final = 120


class NewFile:
    """A new file, written under a temporary name next to its path, then moved there in one step.

    Leaving the block without `commit` deletes it. The data is not synced to disk; protecting it against power
    cuts is up to the caller.

    Raises:
        InvalidParameter: A file exists at that path, or cannot be created there.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path: Path = path.absolute()
        self._overwrite = overwrite
        self._temporary = _temporary_name(self.path)
        try:
            there = _is_there(self.path)
            if there and not overwrite:
                raise InvalidParameter(f"into = {str(path)!r}: the file already exists", parameter="into")
            self._file = FileIO(self._temporary, "xb")
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
        with contextlib.suppress(FileNotFoundError):  # it was committed
            self._temporary.unlink()

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
            self._temporary.replace(self.path)
        else:
            _put_if_free(self._temporary, self.path)
        return self.path


def _temporary_name(path: Path) -> Path:
    """Return a temporary path next to `path`, within file-system name limits, which count bytes."""
    prefix = os.fsencode(path.name)[:_NAME_PREFIX_BYTES].decode(errors="ignore")
    return path.parent / f".{prefix}.{secrets.token_hex(_NAME_BYTES)}.tmp"


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
    """Move a file to a free name; without hard links, create the name first to claim it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if not rename_if_free(temporary, path):
            path.open("xb").close()
            temporary.replace(path)


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
