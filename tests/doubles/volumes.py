"""Emulate the answers of other volumes and systems to the calls that save files, below one folder.

Each emulation patches functions of `os` for the time of a test. It shows what our code does with such an
answer, not how often a system gives it.
"""

import builtins
import errno
import io
import os
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vllm_image_core.storage import folder
from vllm_omni_client._imaging import rename

Call = Callable[..., Any]
SCAN_SECONDS = 0.05
"""How long a scanner holds each new file."""
LIST = os.scandir  # as it is before an emulation replaces it
HELD_TRIES = 3
"""How many operations on a file are refused while another program has it open."""


class Volume:
    """A folder on which the system answers as some other one would.

    Args:
        root: The folder.
        patch: Sets the functions of `os`, until the test ends.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.patch = patch

    def answer(self, names: str, wrap: Callable[[Call], Call]) -> None:
        """Put functions of `os` into others that answer for this folder."""
        for name in names.split():
            call = getattr(os, name)
            self.patch.setattr(os, name, self._here(call, wrap(call)))

    def answer_open(self, wrap: Callable[[Call], Call]) -> None:
        """Put Python's own `open` into another one."""
        opened = self._here(open, wrap(open))
        self.patch.setattr(builtins, "open", opened)
        self.patch.setattr(io, "open", opened)

    def refuse(self, names: str, code: int, *, folders_only: bool = False) -> None:
        """Let functions fail with an error of the system."""

        def wrap(call: Call) -> Call:
            def refusing(path: object, *rest: object, **options: object) -> object:
                if folders_only and not os.path.isdir(_path_of(path, options)):  # noqa: PTH112 - a descriptor's
                    return call(path, *rest, **options)
                raise OSError(code, os.strerror(code), str(path))

            return refusing

        self.answer(names, wrap)

    def _here(self, call: Call, emulated: Call) -> Call:
        def answer(path: object = ".", *rest: object, **options: object) -> object:
            is_here = Path(_path_of(path, options)).is_relative_to(self.root)
            return (emulated if is_here else call)(path, *rest, **options)

        return answer


def _path_of(path: object, options: dict[str, Any]) -> str:
    """Return the path of a file, given by its descriptor, or by its name in an open folder."""
    if isinstance(path, int):
        return str(_opened(path))
    folder = options.get("dir_fd", options.get("src_dir_fd"))
    name = _text(path)
    return str(Path.cwd().joinpath("" if folder is None else _opened(folder), name))


def _text(path: object) -> str:
    return path if isinstance(path, str) else str(path)


def _opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def hard_links_refused(volume: Volume) -> None:
    """exFAT, FAT and many network shares, with the call that renames without replacing."""
    volume.refuse("link", errno.ENOTSUP)


def no_exclusive_move(volume: Volume) -> None:
    """The same, on a system or share without that call."""
    volume.refuse("link", errno.EPERM)
    volume.patch.setattr(rename, "_CALLS", {})


def decomposed(volume: Volume) -> None:
    """HFS+, and exFAT, FAT and SMB on a Mac: names are listed decomposed, and found in either form."""

    def listing(call: Call) -> Call:
        return lambda *arguments: [unicodedata.normalize("NFD", name) for name in call(*arguments)]

    def composed(path: object) -> object:
        return path if isinstance(path, int) else unicodedata.normalize("NFC", _text(path))

    def finding(call: Call) -> Call:
        def find(path: object, *rest: object, **options: object) -> object:
            return call(composed(path), *rest, **options)

        return find

    def moving(call: Call) -> Call:
        def move(old: object, new: object, **options: object) -> object:
            return call(composed(old), composed(new), **options)

        return move

    volume.patch.setattr(rename, "_CALLS", {})  # it does not go through `os`
    volume.answer("listdir", listing)
    volume.answer("stat lstat open unlink remove utime", finding)
    volume.answer("link rename replace", moving)
    volume.answer_open(finding)


def case_ignored(volume: Volume) -> None:
    """The usual volumes of Windows and Macs: another case is the same name."""

    def finding(call: Call) -> Call:
        def find(path: object, *rest: object, **options: object) -> object:
            return call(path if isinstance(path, int) else _as_listed(path, options), *rest, **options)

        return find

    def placing(call: Call) -> Call:
        def place(source: object, target: object, **options: object) -> object:
            return call(source, _as_listed(target, {"dir_fd": options.get("dst_dir_fd")}), **options)

        return place

    volume.answer("stat lstat open unlink remove utime mkdir listdir scandir", finding)
    volume.answer_open(finding)
    volume.answer("link rename replace", placing)


def _as_listed(path: object, options: dict[str, Any]) -> str:
    """Return a path with its names as their folders list them."""
    name = _text(path)
    head, tail = os.path.split(name)
    folder = options.get("dir_fd")
    if head.strip("/") and tail:
        head = _as_listed(head, options)
    within = os.path.join("." if folder is None else f"/proc/self/fd/{folder}", head)  # noqa: PTH118 - as below
    same = [each.name for each in LIST(within) if each.name.casefold() == tail.casefold()]
    return os.path.join(head, same[0]) if same else name  # noqa: PTH118 - it may be relative to a descriptor


def decomposed_and_case_ignored(volume: Volume) -> None:
    """HFS+ as Macs have it: both at once."""
    case_ignored(volume)
    decomposed(volume)


def folders_not_synced(volume: Volume) -> None:
    """A volume that cannot sync the names in a folder."""
    volume.refuse("fsync", errno.EINVAL, folders_only=True)


def nothing_synced(volume: Volume) -> None:
    """A FUSE volume that knows no sync at all."""
    volume.refuse("fsync", errno.EINVAL)


def times_of_fat(volume: Volume) -> None:
    """FAT: times are multiples of two seconds."""

    def rounding(call: Call) -> Call:
        def status(*arguments: object, **options: object) -> os.stat_result:
            found = call(*arguments, **options)
            values = list(found)
            values[7:10] = [int(value) // 2 * 2 for value in values[7:10]]
            whole = {
                name: values[7 + place] for place, name in enumerate(("st_atime", "st_mtime", "st_ctime"))
            }
            ns = {f"{name}_ns": value * 10**9 for name, value in whole.items()}
            return os.stat_result(values, {**whole, **ns})

        return status

    volume.answer("stat lstat fstat", rounding)


def scanned(volume: Volume) -> None:
    """A virus scanner that holds each new file for a moment, on Windows, where a rename never replaces."""
    volume.patch.setattr(sys, "platform", "win32")
    volume.patch.setattr(folder, "_RELATIVE", False)

    def holding(call: Call) -> Call:
        def move(path: object, *rest: object, **options: object) -> object:
            status = Path(_path_of(path, options)).stat()
            if time.time() - status.st_mtime < SCAN_SECONDS:
                error = PermissionError(errno.EACCES, "The file is being used by another process", str(path))
                error.winerror = 32  # type: ignore[attr-defined]  # only Windows has it
                raise error
            if call is rename_now and os.path.lexists(str(rest[0])):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            return call(path, *rest, **options)

        return move

    rename_now = os.rename
    volume.answer("rename replace unlink remove", holding)


def held_by_another_program(volume: Volume) -> None:
    """Windows, where another program has each file open for a moment (ERROR_SHARING_VIOLATION)."""
    _hold(volume, 32)


def being_deleted(volume: Volume) -> None:
    """The same, as Windows says it of a file that is being deleted or indexed (ERROR_ACCESS_DENIED)."""
    _hold(volume, 5)


def _hold(volume: Volume, code: int) -> None:
    """Refuse the first tries to move, replace or remove any file, old or new, whoever asks."""
    no_exclusive_move(volume)
    tries: Counter[str] = Counter()

    def holding(call: Call) -> Call:
        def refusing(path: object, *rest: object, **options: object) -> object:
            for each in (path, *rest[:1]):
                file = "" if isinstance(each, (int, tuple)) else _path_of(each, options)
                if os.path.isfile(file):  # noqa: PTH113 - as it may be relative to a descriptor
                    tries[f"{call.__name__} {file}"] += 1
                    if tries[f"{call.__name__} {file}"] <= HELD_TRIES:
                        error = PermissionError(errno.EACCES, "it is in use by another process", file)
                        error.winerror = code  # type: ignore[attr-defined]  # only Windows has it
                        raise error
            return call(path, *rest, **options)

        return refusing

    volume.answer("rename replace unlink remove utime", holding)


def without_inodes(volume: Volume) -> None:
    """SSHFS, WebDAV and RAM disks on Windows: each file and folder has the number 0."""

    def numbering(call: Call) -> Call:
        def status(*arguments: object, **options: object) -> os.stat_result:
            found: os.stat_result = call(*arguments, **options)
            values = list(found)
            values[1] = 0
            return os.stat_result(values, {name: getattr(found, name) for name in (*_TIMES, *_TIMES_NS)})

        return status

    volume.answer("stat lstat fstat", numbering)


def links_not_implemented(volume: Volume) -> None:
    """A system whose Python has no call for links that follows none, and no call that never replaces."""

    def missing(_: Call) -> Call:
        def link(*_: object, **__: object) -> None:
            raise NotImplementedError("link: follow_symlinks unavailable on this platform")

        return link

    volume.answer("link", missing)
    volume.patch.setattr(rename, "_CALLS", {})


def free_space_unknown(volume: Volume) -> None:
    """A share that does not say how much space is left."""
    volume.refuse("statvfs", errno.EACCES)


def times_not_settable(volume: Volume) -> None:
    """A share on which only the server sets the times of files."""
    volume.refuse("utime", errno.EPERM)


def ahead_of_us(volume: Volume) -> None:
    """A share whose clock is ten minutes ahead."""
    _shift(volume, 600)


def behind_us(volume: Volume) -> None:
    """A share whose clock is ten minutes behind."""
    _shift(volume, -600)


def _shift(volume: Volume, seconds: int) -> None:
    def shifting(call: Call) -> Call:
        def status(*arguments: object, **options: object) -> os.stat_result:
            found: os.stat_result = call(*arguments, **options)
            values = list(found)
            shifted = {f"{name}_ns": getattr(found, f"{name}_ns") + seconds * 10**9 for name in _TIMES}
            shifted |= {name: getattr(found, name) + seconds for name in _TIMES}
            return os.stat_result(values, shifted)

        return status

    volume.answer("stat lstat fstat", shifting)


_TIMES = ("st_atime", "st_mtime", "st_ctime")
_TIMES_NS = tuple(f"{name}_ns" for name in _TIMES)

VOLUMES: tuple[Callable[[Volume], None], ...] = (
    hard_links_refused,
    no_exclusive_move,
    decomposed,
    case_ignored,
    decomposed_and_case_ignored,
    folders_not_synced,
    nothing_synced,
    times_of_fat,
    scanned,
    held_by_another_program,
    being_deleted,
    without_inodes,
    links_not_implemented,
    free_space_unknown,
    times_not_settable,
    ahead_of_us,
    behind_us,
)
