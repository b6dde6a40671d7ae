"""Read input images by name, from the output folder and from folders that the user or the host allowed.

A name comes from a model, which may have read it anywhere, so it is untrusted. A file is opened component by
component, each relative to the one before and none of them a symbolic link: nothing can be swapped in between
the check and the read.
"""

import errno
import os
import re
import stat
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import BinaryIO, Final
from urllib.parse import unquote

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.file_url import path_in_url
from vllm_image_core.requests.data_url import is_data_url
from vllm_image_core.requests.input_picture import InputPicture, read_input, read_input_file
from vllm_image_core.storage.filename import PICTURE_EXTENSIONS
from vllm_image_core.storage.folder import is_link
from vllm_image_core.storage.folder_paths import name_fault
from vllm_image_core.text import LONGEST_PATH, brief, one_line

_OURS: Final = "image://"
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")
"""A scheme has two letters or more; one is a drive of Windows."""

_SHARE: Final = re.compile(r"[/\\]{2}")
_DATA: Final = re.compile(r"\s*(?:iVBORw0KGgo|/9j/|UklGR)[A-Za-z0-9+/\s]{48,}={0,2}\s*\Z")
"""The base64 of a PNG, JPEG or WebP, without what makes it a data: URL."""
_FILE: Final = re.compile(r"file:", re.IGNORECASE)
_NAME_OF_DATA: Final = "image data"
_SHOWN_OF_DATA: Final = 40
"""Number of characters of image data that a message shows: enough to recognise it."""

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


_REASONS: Final = {
    errno.EISDIR: "it is a folder",
    errno.EACCES: "this program is not allowed to read it",
    errno.EPERM: "this program is not allowed to read it",
    errno.ENAMETOOLONG: "its name is too long (image data is not accepted, only files)",
    errno.ENOTDIR: "the file does not exist",
}


class _NotAllowed(Exception):
    """Something exists but must not be read: a link, a folder or a device."""


class InputFolders:
    """The folders that input images may be read from.

    Args:
        output_dir: The output folder, absolute; relative paths and plain names are looked up here first.
        allowed: Further folders that the user allowed, with all folders below them.
    """

    def __init__(self, output_dir: Path, allowed: Sequence[Path] = ()) -> None:
        self._folders = [output_dir]
        for each in allowed:
            with suppress(FileNotFoundError):  # a relative folder is gone if the working folder was removed
                self._folders.append(Path(os.path.abspath(each)))  # noqa: PTH100 - Path.absolute() keeps ".."
        self._agreed: set[Path] = set()
        self._declined: set[Path] = set()

    @property
    def allowed(self) -> Sequence[Path]:
        """The folders that were allowed in addition to the output folder."""
        return self._folders[1:]

    def allow(self, folder: Path) -> None:
        """Allow a folder with all folders below it, as the host's roots are."""
        if folder not in self._folders:
            self._folders.append(folder)

    def remember(self, folder: Path, *, agreed: bool) -> None:
        """Remember the user's answer about the images directly in one folder, not in those below it."""
        (self._agreed if agreed else self._declined).add(folder)

    def outside(self, given: object) -> Path | None:
        """Return the folder of a path that may not be read yet and that the user was not asked about.

        None for anything but an absolute path outside all allowed folders. Links are followed, so that the
        user is asked about the folder itself.
        """
        if not isinstance(given, str) or is_data_url(given):
            return None
        try:
            path = self.path_of(given, "images")
        except InvalidRequest:
            return None
        if not path.is_absolute() or any(True for _ in self._candidates(path)):
            return None
        folder = _real_folder(path)
        return None if folder in self._declined else folder

    def name(self, given: object) -> "NamedImage":
        """Wrap a name, to be read later, once the model is known to support edits.

        Args:
            given: The name of a file in the output folder, with or without its extension and ``image://``, or
                a path below one of the folders. It is not checked yet.
        """
        return NamedImage(folders=self, given=given)

    def read(self, given: object, *, parameter: str) -> InputPicture:
        """Read the image with this name; blocks on the disk.

        Raises:
            InvalidRequest: The name is a URL or leads outside the folders, or the file does not exist or is
                not an image.
        """
        if isinstance(given, str) and is_data_url(given):
            return read_input(given, parameter=parameter)
        path = self.path_of(given, parameter)
        for folder, parts in self._candidates(path):
            try:
                with _open(folder, parts) as file:
                    return read_input_file(file, name=parts[-1], parameter=parameter)
            except FileNotFoundError:
                continue
            except (_NotAllowed, OSError, ValueError) as error:
                code = error.errno if isinstance(error, OSError) else None
                reason = _REASONS.get(code or 0, "it cannot be read")
                refused = str(error) if isinstance(error, _NotAllowed) else reason
                raise self._refusal(given, parameter, refused) from error
        outside = path.is_absolute() and not any(True for _ in self._candidates(path))
        missing = "it is outside the folders that may be read" if outside else "the file does not exist"
        if outside and _real_folder(path) in self._declined:
            missing = "the user declined to let images be read from this folder"
        raise self._refusal(given, parameter, missing)

    def name_of(self, given: object) -> str:
        """Return the image's file name; if the extension was omitted, with the one that exists."""
        if isinstance(given, str) and is_data_url(given):
            return _NAME_OF_DATA
        path = self.path_of(given, "images")
        candidates = self._candidates(path)
        there = (parts[-1] for folder, parts in candidates if os.path.isfile(folder.joinpath(*parts)))  # noqa: PTH113 - a Path raises where it may not look
        return next(there, path.name)

    def path_of(self, given: object, parameter: str) -> PurePath:
        """Return the path that a caller names, which is not looked up.

        Raises:
            InvalidRequest: It is not a path, is a URL, or contains "..".
        """
        if not isinstance(given, str) or not given.strip():
            raise self._refusal(given, parameter, "it is not the name of an image")
        name = unquote(given[len(_OURS) :].partition("?")[0]) if given.startswith(_OURS) else given
        if _DATA.match(name):
            raise self._refusal(
                one_line(given, limit=_SHOWN_OF_DATA),
                parameter,
                "it is bare image data; write it as data:image/png;base64,... or give a file",
            )
        if _FILE.match(name):
            name = self._path_of_address(name, parameter)
        elif _ADDRESS.match(name):
            raise self._refusal(
                given,
                parameter,
                "it is a URL, and URLs are not fetched, as they could point into private networks",
            )
        if fault := self._fault_on_windows(name):
            raise self._refusal(given, parameter, fault)
        if len(name) > LONGEST_PATH:
            reason = "it is too long for a path (image data is not accepted, only files)"
            raise self._refusal(one_line(given, limit=_SHOWN_OF_DATA), parameter, reason)
        if "\0" in name:
            raise self._refusal(given, parameter, "it is not a path")
        path = Path(name)
        if ".." in re.split(r"[/\\]", name):
            raise self._refusal(given, parameter, "it contains '..', which could leave the folder")
        if given.startswith(_OURS) and (path.is_absolute() or not path.parts):
            raise self._refusal(given, parameter, "it is not the id of an image")
        return path

    def _fault_on_windows(self, name: str) -> str | None:
        """Say why a path is not looked at on Windows, which logs on to any server that a path names.

        So a name that an assistant read somewhere could send the user's password hash to a stranger.
        """
        if sys.platform != "win32":
            return None
        path = PureWindowsPath(name)
        if _SHARE.match(name):
            drives = {PureWindowsPath(str(folder)).drive.casefold() for folder in self._folders}
            if not path.drive or path.drive.casefold() not in drives:
                return "it is on a network share or a device, outside the folders that may be read"
        parts = path.parts[1:] if path.anchor else path.parts
        return next(
            (f"the name '{one_line(part)}' {why}" for part in parts if (why := name_fault(part))), None
        )

    def _path_of_address(self, address: str, parameter: str) -> str:
        try:
            return path_in_url(address)
        except ValueError as error:
            raise self._refusal(address, parameter, str(error)) from error

    def _candidates(self, path: PurePath) -> Generator[tuple[Path, tuple[str, ...]]]:
        """Yield the places to look for a path: a folder, and the path components below it."""
        if not path.is_absolute():
            if not path.anchor and path.parts:
                yield from ((folder, path.parts) for folder in self._folders)
            if path.parts and not path.anchor and not path.name.lower().endswith(PICTURE_EXTENSIONS):
                names = [f"{path.name}{end}" for end in PICTURE_EXTENSIONS]
                yield from ((self._folders[0], (*path.parts[:-1], name)) for name in names)
            return
        for folder in self._folders:
            roots = dict.fromkeys((folder, Path(os.path.realpath(folder))))
            within = [root for root in roots if path.is_relative_to(root) and path != root]
            yield from ((root, path.relative_to(root).parts) for root in within)
            if not within:
                yield from ((folder, path.relative_to(same).parts) for same in _same_folders(path, folder))
        if (folder := _real_folder(path)) in self._agreed:
            yield folder, (path.name,)

    def _refusal(self, given: object, parameter: str, reason: str) -> InvalidRequest:
        value = one_line(given, limit=LONGEST_PATH) if isinstance(given, str) else None
        named = brief(given) if value is None else f"'{value}'"
        folders = ", ".join(one_line(str(folder), limit=LONGEST_PATH) for folder in self._folders)
        return InvalidRequest(
            f"{parameter}: cannot read {named}: {reason}. Allowed: the file names of images generated here, "
            f"and paths below {folders}.",
            parameter=parameter,
            value=given,
            allowed=f"images in {folders}",
            next_step="Use the file_path of an image generated here, or ask the user to copy the file there "
            "or to start this server with --allow-dir for its folder.",
        )


def _real_folder(path: PurePath) -> Path:
    """Return the folder of a path, with all links in its path followed."""
    return Path(os.path.realpath(path.parent))


def _same_folders(path: PurePath, folder: Path) -> Generator[PurePath]:
    """Yield the folder as a path spells it: volumes may ignore case and how accents are composed.

    Some volumes of Windows (SSHFS, WebDAV) give each folder the number 0, which does not identify it.
    """
    for parent in path.parents:
        with suppress(OSError):
            if os.path.samefile(parent, folder) and folder.stat().st_ino:  # noqa: PTH121 - a pure path has no such method
                yield parent


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """An input image by its name, which is not read or checked yet."""

    folders: InputFolders
    given: object

    @property
    def name(self) -> str:
        """The file name, without the folder."""
        return self.folders.name_of(self.given)

    def input_picture(self, *, parameter: str) -> InputPicture:
        """Read the image; see `InputFolders.read`."""
        return self.folders.read(self.given, parameter=parameter)


@contextmanager
def _open(folder: Path, parts: Sequence[str]) -> Generator[BinaryIO]:
    """Open a regular file below a folder without following a symbolic link below it."""
    descriptor = _descend(folder, parts) if _RELATIVE else _look_up(folder, parts)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotAllowed("it is not a regular file")
        yield file


def _descend(folder: Path, parts: Sequence[str]) -> int:
    """Open a path component by component, so that a link swapped in meanwhile is not followed."""
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
            raise _NotAllowed("the path contains a symbolic link, and links are not followed") from error
        raise


def _look_up(folder: Path, parts: Sequence[str]) -> int:
    """Open a path on systems without relative opens (Windows), and check it before and after."""
    path = folder.joinpath(*parts)
    before = path.lstat()
    if is_link(path) or path.resolve(strict=True) != folder.resolve(strict=True).joinpath(*parts):
        raise _NotAllowed("the path contains a symbolic link, and links are not followed")
    if not (stat.S_ISREG(before.st_mode) or stat.S_ISDIR(before.st_mode)):  # a pipe would be waited for
        raise _NotAllowed("it is not a regular file")
    descriptor = os.open(path, _READING)
    if not os.path.samestat(before, os.fstat(descriptor)):
        os.close(descriptor)
        raise _NotAllowed("it was replaced while being opened")
    return descriptor
