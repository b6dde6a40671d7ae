"""Saving: a file that appears under its name whole, or not at all."""

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
_KEPT_BYTES: Final = 120


class NewFile:
    """A file on its way: written under a temporary name beside its place, then put there in one step.

    Leaving the block without `commit` removes what was written. Nothing is flushed to the disk itself: what
    a power cut may take is for the caller to decide.

    Args:
        path: Its place.
        overwrite: Whether a file that is there already is replaced.

    Raises:
        InvalidParameter: There is a file already, or no file can be made there.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path: Path = path.absolute()
        self._overwrite = overwrite
        self._temporary = _temporary_name(self.path)
        try:
            there = _is_there(self.path)
            if there and not overwrite:
                raise InvalidParameter(f"into = {str(path)!r}: there is a file already", parameter="into")
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
        with contextlib.suppress(FileNotFoundError):  # it was put in its place
            self._temporary.unlink()

    def restart(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()

    def write(self, data: bytes | memoryview) -> None:
        """Add to the end. Raises OSError, as when the disk is full."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def commit(self) -> Path:
        """Put the file in its place, and return the place.

        Raises:
            FileExistsError: Someone else has put a file there meanwhile.
        """
        self._file.close()
        if self._overwrite:
            self._temporary.replace(self.path)
        else:
            _put_if_free(self._temporary, self.path)
        return self.path


def _temporary_name(path: Path) -> Path:
    """Return a name beside the path, no longer than file systems take; characters may have several bytes."""
    kept = os.fsencode(path.name)[:_KEPT_BYTES].decode(errors="ignore")
    return path.parent / f".{kept}.{secrets.token_hex(_NAME_BYTES)}.tmp"


def _is_there(path: Path) -> bool:
    """Say whether there is anything under a name, a link without a target included.

    Raises:
        OSError: No file can ever be there: the name is too long, or that of a folder.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return True


def _put_if_free(temporary: Path, path: Path) -> None:
    """Move a file to a free name; where there are no hard links, the name is claimed first."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if not rename_if_free(temporary, path):
            path.open("xb").close()
            temporary.replace(path)


def write_whole(data: bytes, path: Path, *, overwrite: bool) -> Path:
    """Write a file, whole or not at all; returns its absolute path.

    Raises:
        FileExistsError: There is a file already, and `overwrite` is False.
        OSError: It cannot be written.
    """
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; overwrite=True replaces it")
    try:
        new = NewFile(path, overwrite=overwrite)
    except InvalidParameter as error:
        raise error.__cause__ or error from None
    with new:
        new.write(data)
        return new.commit()
