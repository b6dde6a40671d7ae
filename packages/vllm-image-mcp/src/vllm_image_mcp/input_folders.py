"""The pictures that a tool may read: files in the output folder and in allowed ones, and nothing else.

A name comes from a model, and a model may have read it anywhere. So it is text until it is found below one of
these folders, component by component, each opened relative to the last and none of them a symbolic link:
nobody can swap one in between a check and the reading.
"""

import os
import re
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Final
from urllib.parse import unquote

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.input_picture import InputPicture, read_input_file
from vllm_image_core.storage.filename import PICTURE_EXTENSIONS
from vllm_image_core.text import LONGEST_PATH, one_line, shown

__all__ = ["InputFolders", "NamedPicture"]

_OURS: Final = "image://"
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
"""A scheme has two letters or more; one is a drive of Windows."""

_DATA: Final = re.compile(r"\s*data:", re.IGNORECASE)
_FILE: Final = re.compile(r"file:", re.IGNORECASE)
_DRIVE: Final = re.compile(r"/[A-Za-z]:[/\\]")
_SHOWN_OF_DATA: Final = 40
"""Characters of image data that a message shows: enough to know it again."""

_RELATIVE: Final = os.open in os.supports_dir_fd
_ENTERING: Final[int] = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_READING: Final[int] = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class _NotAllowed(Exception):
    """What is there, and is not read: a link, a folder, a device."""


class InputFolders:
    """The folders that pictures may be read from.

    Args:
        output_dir: The output folder, absolute: a relative path or a plain name is looked for here first.
        allowed: Further folders, as the user allowed them.
    """

    def __init__(self, output_dir: Path, allowed: Sequence[Path] = ()) -> None:
        self._folders = (output_dir, *_absolute(allowed))

    def name(self, given: object) -> "NamedPicture":
        """A name, to be read once the model is known to edit.

        Args:
            given: A file's name in the output folder, with or without its extension, ``image://`` before it
                or not; or a path below one of the folders. Unchecked.
        """
        return NamedPicture(folders=self, given=given)

    def read(self, given: object, *, parameter: str) -> InputPicture:
        """The picture that a name stands for; waits for the disk.

        Raises:
            InvalidRequest: It is an address, leads elsewhere, is not there, or is no picture.
        """
        path = self._path(given, parameter)
        for folder, parts in self._candidates(path):
            try:
                with _open(folder, parts) as file:
                    return read_input_file(file, name=parts[-1], parameter=parameter)
            except FileNotFoundError:
                continue
            except (_NotAllowed, OSError, ValueError) as error:
                reason = str(error) if isinstance(error, _NotAllowed) else "it cannot be read"
                raise self._refusal(given, parameter, reason) from error
        raise self._refusal(given, parameter, self._not_found(path))

    def name_of(self, given: object) -> str:
        """The file name of a picture that could be read: with its extension, where it was left out."""
        path = self._path(given, "images")
        candidates = self._candidates(path)
        there = (parts[-1] for folder, parts in candidates if os.path.isfile(folder.joinpath(*parts)))  # noqa: PTH113 - a Path raises where it may not look
        return next(there, path.name)

    def _path(self, given: object, parameter: str) -> PurePath:
        if not isinstance(given, str) or not given.strip():
            raise self._refusal(given, parameter, "it is no name of a picture")
        name = unquote(given[len(_OURS) :].partition("?")[0]) if given.startswith(_OURS) else given
        if _DATA.match(name):
            raise self._refusal(
                one_line(given, limit=_SHOWN_OF_DATA),
                parameter,
                "it is image data, and this tool reads only files",
            )
        if _FILE.match(name):
            name = self._path_of_address(name, parameter)
        elif _ADDRESS.match(name):
            raise self._refusal(
                given,
                parameter,
                "it is an address, and nothing is fetched here: an address could lead into private networks",
            )
        if len(name) > LONGEST_PATH:
            reason = "it is too long for a path (image data is not taken, only files)"
            raise self._refusal(one_line(given, limit=_SHOWN_OF_DATA), parameter, reason)
        if "\0" in name:
            raise self._refusal(given, parameter, "it is no path")
        path = Path(name)
        if ".." in re.split(r"[/\\]", name):
            raise self._refusal(given, parameter, "it leads out of its folder by '..'")
        if given.startswith(_OURS) and len(path.parts) != 1:
            raise self._refusal(given, parameter, "it is no id of a picture")
        return path

    def _path_of_address(self, address: str, parameter: str) -> str:
        """The path in an address of a local file (RFC 8089)."""
        rest = address.partition(":")[2]
        host, path = "", rest
        if rest.startswith("//"):
            host, slash, path = rest[2:].partition("/")
            path = slash + path
        if host.casefold() not in {"", "localhost"}:
            raise self._refusal(address, parameter, "it is a file of another machine")
        if not path.startswith("/"):
            raise self._refusal(address, parameter, "it is not the address of a file: use file:///path")
        path = unquote(path)
        return path[1:] if _DRIVE.match(path) else path

    def _candidates(self, path: PurePath) -> Generator[tuple[Path, tuple[str, ...]]]:
        """Where a path may be found: a folder, and the names that lead down from it."""
        if not path.is_absolute():
            if not path.anchor and path.parts:
                yield from ((folder, path.parts) for folder in self._folders)
            if len(path.parts) == 1 and not path.name.lower().endswith(PICTURE_EXTENSIONS):
                yield from ((self._folders[0], (f"{path.name}{end}",)) for end in PICTURE_EXTENSIONS)
            return
        for folder in self._folders:
            for root in dict.fromkeys((folder, Path(os.path.realpath(folder)))):
                if path.is_relative_to(root) and path != root:
                    yield root, path.relative_to(root).parts

    def _not_found(self, path: PurePath) -> str:
        outside = path.is_absolute() and not any(True for _ in self._candidates(path))
        return "it is in none of the folders that may be read" if outside else "there is no such file"

    def _refusal(self, given: object, parameter: str, reason: str) -> InvalidRequest:
        value = one_line(given, limit=LONGEST_PATH) if isinstance(given, str) else None
        named = shown(given) if value is None else f"'{value}'"
        folders = ", ".join(one_line(str(folder), limit=LONGEST_PATH) for folder in self._folders)
        return InvalidRequest(
            f"{parameter}: {named} is not read: {reason}. Allowed are the file names of pictures that were "
            f"made here, and paths below {folders}.",
            parameter=parameter,
            value=given,
            allowed=f"pictures in {folders}",
            next_step="Give the file_path of a picture that was made here, or have the user copy the file "
            "there or start this server with --allow-dir for its folder.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPicture:
    """A picture by its name, unread.

    Attributes:
        folders: Where it may be.
        given: The name, unchecked.
    """

    folders: InputFolders
    given: object

    @property
    def name(self) -> str:
        """Its file name, without the folder."""
        return self.folders.name_of(self.given)

    def input_picture(self, *, parameter: str) -> InputPicture:
        """Read it; see `InputFolders.read`."""
        return self.folders.read(self.given, parameter=parameter)


def _absolute(folders: Sequence[Path]) -> Generator[Path]:
    for each in folders:
        # A relative one in a working folder that was removed is gone, too.
        with suppress(FileNotFoundError):
            yield Path(os.path.abspath(each))  # noqa: PTH100 - Path.absolute() keeps ".."


@contextmanager
def _open(folder: Path, parts: Sequence[str]) -> Generator[BinaryIO]:
    """A plain file below a folder, opened without following a link below that folder.

    Raises:
        FileNotFoundError: There is nothing of that name.
        _NotAllowed: A link, a folder or a device is there.
        OSError: It cannot be opened.
    """
    descriptor = _descend(folder, parts) if _RELATIVE else _look_up(folder, parts)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotAllowed("it is no file")
        yield file


def _descend(folder: Path, parts: Sequence[str]) -> int:
    """Open component by component, each relative to the last: what is swapped meanwhile is not followed."""
    at = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        for part in parts[:-1]:
            below = _enter(part, _ENTERING, at)
            os.close(at)
            at = below
        return _enter(parts[-1], _READING, at)
    finally:
        os.close(at)


def _enter(name: str, flags: int, at: int) -> int:
    try:
        return os.open(name, flags, dir_fd=at)
    except FileNotFoundError:
        raise
    except OSError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise _NotAllowed("a symbolic link is on the way, and links are not followed") from error
        raise


def _look_up(folder: Path, parts: Sequence[str]) -> int:
    """The same where the system cannot open relative to a folder (Windows): looked at before and after."""
    path = folder.joinpath(*parts)
    before = path.lstat()
    if path.resolve(strict=True) != folder.resolve(strict=True).joinpath(*parts):
        raise _NotAllowed("a symbolic link is on the way, and links are not followed")
    descriptor = os.open(path, _READING)
    if not os.path.samestat(before, os.fstat(descriptor)):
        os.close(descriptor)
        raise _NotAllowed("it was replaced while it was opened")
    return descriptor
