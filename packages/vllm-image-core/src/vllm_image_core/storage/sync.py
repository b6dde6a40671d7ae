"""Update the index from the files in its folder, reading only new and changed files."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Final

from vllm_omni_client.imaging import is_held

from vllm_image_core.storage import full_text, index_tables
from vllm_image_core.storage.database import writing
from vllm_image_core.storage.filename import PICTURE_EXTENSIONS
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.index_tables import State
from vllm_image_core.storage.known_names import KnownNames
from vllm_image_core.storage.record import Record, read_record
from vllm_image_core.storage.subfolders import Subfolders

_SEEN: Final = "SELECT value FROM state WHERE name = 'folder_modified_ns'"
"""Modification time of the folder when its names were last compared: no row before the first comparison;
NULL if another change might not show in that time."""
_SEEN_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('folder_modified_ns', ?)"

_UNNAMED: Final = "SELECT value FROM state WHERE name = 'unnamed_files'"
"""How many image files have names that cannot be entered; no row if that was never counted."""
_UNNAMED_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('unnamed_files', ?)"

_AT_ONCE: Final = 5_000
"""Files entered in one transaction: few enough that other writers wait for a second at most, and many enough
that syncing each transaction to disk takes little of the time."""
_COARSE_NS: Final = 10**7
"""Folder times that are multiples of this are those of FAT and exFAT. On Windows, such folders keep
their time when files are added, so the names are compared before each answer."""
_SETTLED_NS: Final = 10**8
"""How long after a change another one shows in the time of a folder: other clocks advance every 10 ms."""
_GROWING_NS: Final = 60 * 10**9
"""A file that is not an image yet and was written within the last minute may still be growing."""
_LOOKED_AT_ONCE: Final = 500
_REPORTED_EVERY: Final = 1_000
_PAUSE_SECONDS: Final = 0.002
"""Queries that come while all files are being checked are answered in these pauses."""

_File = tuple[str, State]

OnProgress = Callable[[int, int], object]
"""Called with the number of new files that have been read, and with the number of all new files."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was found in some files.

    `others` are files that are not images, or not yet; `final` are those of them that were written long
    enough ago.
    """

    root: Path
    records: Sequence[Record]
    others: Sequence[str]
    final: Sequence[tuple[str, int, int]]

    @property
    def complete(self) -> bool:
        """Whether none of the files may still be growing."""
        return len(self.final) == len(self.others)

    def enter(self, connection: sqlite3.Connection, *, fts: bool) -> None:
        """Enter the files that were found, replacing any entries for them; must run within a transaction."""
        index_tables.forget(connection, self.others, fts=fts)
        index_tables.enter(connection, self.root, self.records, fts=fts)
        index_tables.enter_no_pictures(connection, self.final)


class IndexSync:
    """Updates an index from the files of one folder; each method works on an open connection.

    The methods raise `OSError` if the folder is gone or cannot be read.
    """

    def __init__(self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns
        self._names = KnownNames()
        self._subfolders = Subfolders(root)

    def has_subfolders(self) -> bool:
        """Return whether images were saved in subfolders."""
        return bool(self._subfolders.names())

    def is_complete(self, connection: sqlite3.Connection) -> bool:
        """Return whether all files of the folder have been entered; False while the index is being built."""
        return connection.execute(_SEEN).fetchone() is not None

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Return whether the index is complete, and no name was added to or removed from the folder since."""
        seen = connection.execute(_SEEN).fetchone()
        return seen is not None and seen[0] == _seen_state(self._times(self._root.stat().st_mtime_ns))

    def follow(
        self, connection: sqlite3.Connection, *, every_file: bool, on_progress: OnProgress | None = None
    ) -> None:
        """Enter new files and remove missing ones; call it from one thread at a time.

        With `every_file`, the size and time of each file are checked, too, and changed files read again.
        Progress is reported only if there are more than 500 files to read.
        """
        with Folder.existing(self._root) as folder:
            times = self._times(folder.modified_ns())
            settled = self._are_settled(times)
            names = self._listing(folder)
            compared = self._with_states if every_file else self._with_names
            changed, gone = compared(connection, folder, names)
            complete, are_many = True, len(changed) > _LOOKED_AT_ONCE
            reader = _Reader(folder, len(changed), on_progress if are_many else None)
            while len(changed) > _AT_ONCE:
                complete &= self._enter(connection, reader, changed[:_AT_ONCE])
                changed = changed[_AT_ONCE:]
            contents = self._contents(reader, changed)
            if are_many and not settled:  # reading them takes longer than a folder needs to settle
                settled = self._are_settled(times) and set(self._listing(folder)) == set(names)
        seen = _seen_state(times) if settled and complete and contents.complete else None
        unnamed = _count_unnameable(names)
        is_news = (
            connection.execute(_SEEN).fetchone() != (seen,) or self.unnameable_count(connection) != unnamed
        )
        if changed or gone or is_news:
            with changing(connection) as fts:
                index_tables.forget(connection, gone, fts=fts)
                contents.enter(connection, fts=fts)
                connection.execute(_SEEN_NOW, (seen,))
                connection.execute(_UNNAMED_NOW, (unnamed,))

    def unnameable_count(self, connection: sqlite3.Connection) -> int:
        """Return how many image files cannot be entered because of their names."""
        found = connection.execute(_UNNAMED).fetchone()
        return int(found[0]) if found else 0

    def update_files(self, connection: sqlite3.Connection, names: Sequence[str]) -> None:
        """Update the index for some files that were removed or changed."""
        with Folder.existing(self._root) as folder:
            states = _states(folder, names)
            files = sorted(states.items(), key=_when_written)
            contents = self._contents(_Reader(folder, len(files)), files)
        with changing(connection) as fts:
            index_tables.forget(connection, sorted(set(names) - states.keys()), fts=fts)
            contents.enter(connection, fts=fts)
            if not contents.complete:
                connection.execute(_SEEN_NOW, (None,))

    def check_every_file(self, connection: sqlite3.Connection) -> None:
        """Check the size and time of each file, with pauses, and read changed files again."""
        last, until = 0, index_tables.last_id(connection)
        while last < until:
            last, known = index_tables.states_between(connection, last, until, limit=_LOOKED_AT_ONCE)
            with Folder.existing(self._root) as folder:
                states = _states(folder, known)
            if changed := [name for name, state in known.items() if states.get(name) != state]:
                self.update_files(connection, changed)
            time.sleep(_PAUSE_SECONDS)

    def _with_states(
        self, connection: sqlite3.Connection, folder: Folder, names: Sequence[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """Return the new and changed files, oldest first, and the names of the missing ones."""
        known, states = index_tables.read_states(connection), _states(folder, names)
        changed = (file for file in states.items() if known.get(file[0]) != file[1])
        return sorted(changed, key=_when_written), sorted(known.keys() - states.keys())

    def _with_names(
        self, connection: sqlite3.Connection, folder: Folder, names: Sequence[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """Return the new files, oldest first, and the names of the missing ones, comparing only names."""
        new, gone = self._names.compare(connection, names)
        self._names.discard(gone)
        return sorted(_states(folder, new).items(), key=_when_written), gone

    def _times(self, modified_ns: int) -> dict[str, int]:
        """Return when a name was last added to or removed from the folder and each of its subfolders."""
        times = {"": modified_ns}
        for name in self._subfolders.names():
            with suppress(OSError):  # removed in the meantime
                times[name] = (self._root / name).stat().st_mtime_ns
        return times

    def _listing(self, folder: Folder) -> list[str]:
        """Return the names of everything in the folder and its subfolders."""
        names = folder.names()
        for subfolder in self._subfolders.names():
            with suppress(OSError):  # removed in the meantime
                names += [f"{subfolder}/{name}" for name in os.listdir(folder.path / subfolder)]  # noqa: PTH208 - names only
        return names

    def _are_settled(self, times: Mapping[str, int]) -> bool:
        now = self._clock_ns()
        return all(time % _COARSE_NS and now - time > _SETTLED_NS for time in times.values())

    def _enter(self, connection: sqlite3.Connection, reader: "_Reader", files: Sequence[_File]) -> bool:
        """Read some files and enter them; return False if one may still be growing."""
        contents = self._contents(reader, files)
        with changing(connection) as fts:
            contents.enter(connection, fts=fts)
        return contents.complete

    def _contents(self, reader: "_Reader", files: Sequence[_File]) -> _Contents:
        found = {name: reader.read(name) for name, _ in files}
        now = self._clock_ns()
        others = [(name, state) for name, state in files if found[name] is None]
        return _Contents(
            root=self._root,
            records=[record for record in found.values() if record],
            others=[name for name, _ in others],
            final=[
                (name, *state)
                for name, state in others
                if now - state[1] > _GROWING_NS and name not in reader.held
            ],
        )


@dataclass(slots=True)
class _Reader:
    """Reads the records of some files of a folder, and reports how many it has read.

    `held` are the names of files that another program has open, so that they are read again.
    """

    folder: Folder
    total: int
    on_progress: OnProgress | None = None
    held: set[str] = field(default_factory=set[str])
    _done: int = 0

    def read(self, name: str) -> Record | None:
        """Read the record of a file; None if it is not an image, was removed or cannot be read."""
        self._done += 1
        if self.on_progress and (self._done % _REPORTED_EVERY == 0 or self._done == self.total):
            self.on_progress(self._done, self.total)
        try:
            return read_record(self.folder, name)
        except OSError as error:
            if is_held(error):
                self.held.add(name)
            return None


@contextmanager
def changing(connection: sqlite3.Connection) -> Generator[bool]:
    """Run one transaction, enter the words at its end, and yield whether full-text search is available."""
    fts = full_text.prepare(connection)
    with writing(connection):
        yield fts
        if fts:
            full_text.enter(connection)


def _seen_state(times: Mapping[str, int]) -> int:
    """Return one number for the times of the folder and its subfolders: the time itself if there are none."""
    if len(times) == 1:
        return next(iter(times.values()))
    digest = hashlib.blake2b(repr(sorted(times.items())).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)


def is_picture_name(name: str) -> bool:
    """Return whether a file with this name may be an image that can be entered."""
    return looks_like_picture(name) and _is_text(name)


def looks_like_picture(name: str) -> bool:
    """Return whether a file with this name may be an image."""
    hidden = name.startswith(".") or "/." in name
    return not hidden and name.lower().endswith(PICTURE_EXTENSIONS)


def _is_text(name: str) -> bool:
    """Return whether a name is valid text; SQLite cannot store any other."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count_unnameable(names: Sequence[str]) -> int:
    """Count the image files whose names are not valid text, checking all names at once if they are."""
    if _is_text("".join(names)):
        return 0
    return sum(looks_like_picture(name) and not _is_text(name) for name in names)


def _states(folder: Folder, names: Iterable[str]) -> dict[str, State]:
    """Return the states of those names that are image files; links are ignored."""
    found: dict[str, State] = {}
    for name in filter(is_picture_name, names):
        try:
            status = folder.status(name)
        except OSError:  # removed in the meantime
            continue
        if S_ISREG(status.st_mode):
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _when_written(file: _File) -> tuple[int, str]:
    return file[1][1], file[0]
