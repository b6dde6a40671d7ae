"""Update the index from the files in its folder, reading only new and changed files."""

import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final

from vllm_image_core.storage import full_text, index_tables
from vllm_image_core.storage.database import writing
from vllm_image_core.storage.filename import PICTURE_EXTENSIONS
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.index_tables import State
from vllm_image_core.storage.record import Record, read_record

_NO_NAME: Final = "/"
"""Not allowed in names on any system. Reading all names as one string is much faster than row by row."""
_NAMES: Final = f"SELECT group_concat(name, '{_NO_NAME}') FROM picture"  # noqa: S608 - our own separator
_NEWER: Final = f"{_NAMES} WHERE id > ?"
# As separate subqueries: a combined query would read every row.
_LAST: Final = "SELECT (SELECT count(*) FROM picture), (SELECT coalesce(max(id), 0) FROM picture)"
_MARKED: Final = "INSERT OR IGNORE INTO state VALUES ('mark', random())"
_MARK: Final = "SELECT value FROM state WHERE name = 'mark'"
"""Distinguishes an index file from another one that replaced it."""


class KnownNames:
    """Caches the names of all files in the index; not thread-safe."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._last_id = 0
        self._names: set[str] = set()

    def of(self, connection: sqlite3.Connection) -> AbstractSet[str]:
        """Return the current names, reading only those added since the last call.

        An id is never used twice, so new entries have greater ids. If there are then as many names as
        entries, none was removed.
        """
        row = connection.execute(_MARK).fetchone()
        if row is None:
            connection.execute(_MARKED)
            row = connection.execute(_MARK).fetchone()
        entries, last_id = connection.execute(_LAST).fetchone()
        if row[0] == self._mark:
            self._names.update(_names(connection.execute(_NEWER, (self._last_id,))))
        if row[0] != self._mark or entries != len(self._names):
            self._names = set(_names(connection.execute(_NAMES)))
        self._mark, self._last_id = row[0], last_id
        return self._names

    def discard(self, names: Collection[str]) -> None:
        """Drop names that are being removed from the index; if the removal fails, they are read again."""
        self._names.difference_update(names)


def _names(found: sqlite3.Cursor) -> Collection[str]:
    names: str | None = found.fetchone()[0]
    return () if names is None else names.split(_NO_NAME)


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
_PAUSE_SECONDS: Final = 0.002
"""Queries that come while all files are being checked are answered in these pauses."""

_File = tuple[str, State]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was found in some files.

    `others` are files that are not images, or not yet; `final` are those of them that were written long
    enough ago.
    """

    records: Sequence[Record]
    others: Sequence[str]
    final: Sequence[tuple[str, int, int]]

    @property
    def complete(self) -> bool:
        """Whether none of the files may still be growing."""
        return len(self.final) == len(self.others)

    def enter(self, connection: sqlite3.Connection, *, fts: bool) -> None:
        """Enter what was found, replacing any entries for these files; must run within a transaction."""
        index_tables.forget(connection, self.others, fts=fts)
        index_tables.enter(connection, self.records, fts=fts)
        index_tables.enter_no_pictures(connection, self.final)


class IndexSync:
    """Updates an index from the files of one folder; each method works on an open connection.

    The methods raise `OSError` if the folder is gone or cannot be read.
    """

    def __init__(self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns
        self._names = KnownNames()

    def is_complete(self, connection: sqlite3.Connection) -> bool:
        """Return whether all files of the folder have been entered; False while the index is being built."""
        return connection.execute(_SEEN).fetchone() is not None

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Return whether the index is complete, and no name was added to or removed from the folder since."""
        seen = connection.execute(_SEEN).fetchone()
        return seen is not None and seen[0] == self._root.stat().st_mtime_ns

    def follow(self, connection: sqlite3.Connection, *, every_file: bool) -> None:
        """Enter new files and remove missing ones; call it from one thread at a time.

        With `every_file`, the size and time of each file are checked, too, and changed files read again.
        """
        with Folder.existing(self._root) as folder:
            modified_ns = folder.modified_ns()
            settled = self._is_settled(modified_ns)
            names = set(folder.names())
            compared = self._with_states if every_file else self._with_names
            changed, gone = compared(connection, folder, names)
            complete, are_many = True, len(changed) > _LOOKED_AT_ONCE
            while len(changed) > _AT_ONCE:
                complete &= self._enter(connection, folder, changed[:_AT_ONCE])
                changed = changed[_AT_ONCE:]
            contents = self._contents(folder, changed)
            if are_many and not settled:  # reading them takes longer than a folder needs to settle
                settled = self._is_settled(modified_ns) and set(folder.names()) == names
        seen = modified_ns if settled and complete and contents.complete else None
        unnamed = sum(looks_like_picture(name) and not _is_text(name) for name in names)
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
            contents = self._contents(folder, sorted(states.items(), key=_when_written))
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
        self, connection: sqlite3.Connection, folder: Folder, names: set[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """Return the new and changed files, oldest first, and the names of the missing ones."""
        known, states = index_tables.read_states(connection), _states(folder, names)
        changed = (file for file in states.items() if known.get(file[0]) != file[1])
        return sorted(changed, key=_when_written), sorted(known.keys() - states.keys())

    def _with_names(
        self, connection: sqlite3.Connection, folder: Folder, names: set[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """Return the new files, oldest first, and the names of the missing ones, comparing only names."""
        known = self._names.of(connection)
        new = names - known
        gone = sorted(known - names) if len(names) - len(new) < len(known) else []
        self._names.discard(gone)
        return sorted(_states(folder, new).items(), key=_when_written), gone

    def _is_settled(self, modified_ns: int) -> bool:
        return bool(modified_ns % _COARSE_NS) and self._clock_ns() - modified_ns > _SETTLED_NS

    def _enter(self, connection: sqlite3.Connection, folder: Folder, files: Sequence[_File]) -> bool:
        """Read some files and enter them; return False if one may still be growing."""
        contents = self._contents(folder, files)
        with changing(connection) as fts:
            contents.enter(connection, fts=fts)
        return contents.complete

    def _contents(self, folder: Folder, files: Sequence[_File]) -> _Contents:
        found = {name: _read_or_none(folder, name) for name, _ in files}
        now = self._clock_ns()
        others = [(name, state) for name, state in files if found[name] is None]
        return _Contents(
            records=[record for record in found.values() if record],
            others=[name for name, _ in others],
            final=[(name, *state) for name, state in others if now - state[1] > _GROWING_NS],
        )


@contextmanager
def changing(connection: sqlite3.Connection) -> Generator[bool]:
    """Run one transaction, enter the words at its end, and yield whether full-text search is available."""
    fts = full_text.prepare(connection)
    with writing(connection):
        yield fts
        if fts:
            full_text.enter(connection)


def is_picture_name(name: str) -> bool:
    """Return whether a file with this name may be an image that can be entered."""
    return looks_like_picture(name) and _is_text(name)


def looks_like_picture(name: str) -> bool:
    """Return whether a file with this name may be an image."""
    return not name.startswith(".") and name.lower().endswith(PICTURE_EXTENSIONS)


def _is_text(name: str) -> bool:
    """Return whether a name is valid text; SQLite cannot store any other."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


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


def _read_or_none(folder: Folder, name: str) -> Record | None:
    try:
        return read_record(folder, name)
    except OSError:  # removed in the meantime, or not readable
        return None
