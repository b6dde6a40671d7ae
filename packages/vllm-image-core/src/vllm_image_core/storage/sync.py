"""The upkeep of an index: it is brought up to the files of its folder; only new and changed ones are read."""

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

__all__ = [
    "IndexSync",
    "KnownNames",
    "changing",
    "is_picture_name",
    "looks_like_picture",
]


_NO_NAME: Final = "/"
"""What no system allows in a name. All names in one text are read several times as fast as row by row."""
_NAMES: Final = f"SELECT group_concat(name, '{_NO_NAME}') FROM picture"  # noqa: S608 - our own sign
_NEWER: Final = f"{_NAMES} WHERE id > ?"
# Apart from each other: together they would read every row.
_LAST: Final = "SELECT (SELECT count(*) FROM picture), (SELECT coalesce(max(id), 0) FROM picture)"
_MARKED: Final = "INSERT OR IGNORE INTO state VALUES ('mark', random())"
_MARK: Final = "SELECT value FROM state WHERE name = 'mark'"
"""By which one file of the index is told from another that was put in its place."""


class KnownNames:
    """The names of all files that are entered in the index; not for several threads at once."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._last_id = 0
        self._names: set[str] = set()

    def of(self, connection: sqlite3.Connection) -> AbstractSet[str]:
        """The names as they are now; only those that came since the last time are read.

        An id is never used twice. So whatever came has a greater one, and where there are as many names as
        entries then, none was taken out.
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
        """Forget names that are taken out of the index; if they are not after all, they are read again."""
        self._names.difference_update(names)


def _names(found: sqlite3.Cursor) -> Collection[str]:
    names: str | None = found.fetchone()[0]
    return () if names is None else names.split(_NO_NAME)


_SEEN: Final = "SELECT value FROM state WHERE name = 'folder_modified_ns'"
"""When the folder had last been changed as its names were compared: no row until they were, for the first
time; NULL where another change may not show."""
_SEEN_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('folder_modified_ns', ?)"

_UNNAMED: Final = "SELECT value FROM state WHERE name = 'unnamed_files'"
"""How many files may be pictures and have names that cannot be entered: no row for none, ever."""
_UNNAMED_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('unnamed_files', ?)"

_AT_ONCE: Final = 5_000
"""Files that are read between two transactions: few enough that other writers wait for a second at most, and
many enough that forcing each transaction to the disk takes little of the time."""
_SETTLED_NS: Final = 2 * 10**9
"""The coarsest clock of a file system, FAT's: after that, another change shows another time."""
_FINE_NS: Final = 10**6
_FINELY_SETTLED_NS: Final = 10**8
"""The same where times are finer than a millisecond: such clocks advance every 10 ms at the least."""
_GROWING_NS: Final = 60 * 10**9
"""A file that is no picture yet and was written in the last minute may still be on its way here."""
_LOOKED_AT_ONCE: Final = 500
_PAUSE_SECONDS: Final = 0.002
"""A question that comes while all files are looked at is answered in such a pause."""

_File = tuple[str, State]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was found in some files.

    Attributes:
        records: Of the pictures.
        others: The names of those that are no pictures, or not yet.
        grown: Those of them that were written long enough ago to stay what they are.
    """

    records: Sequence[Record]
    others: Sequence[str]
    grown: Sequence[tuple[str, int, int]]

    @property
    def whole(self) -> bool:
        """Whether none may still be growing."""
        return len(self.grown) == len(self.others)

    def enter(self, connection: sqlite3.Connection, *, fts: bool) -> None:
        """Enter them in place of what was known of these files; within a transaction."""
        index_tables.forget(connection, self.others, fts=fts)
        index_tables.enter(connection, self.records, fts=fts)
        index_tables.enter_no_pictures(connection, self.grown)


class IndexSync:
    """Brings an index up to the files of one folder; each method works on an open connection.

    The methods raise `OSError` where the folder is gone or cannot be read.

    Args:
        root: The folder of the pictures, absolute.
        clock_ns: Nanoseconds since 1970.
    """

    def __init__(self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns
        self._names = KnownNames()

    def is_whole(self, connection: sqlite3.Connection) -> bool:
        """Whether all files of the folder were entered once: not so while the index is being made."""
        return connection.execute(_SEEN).fetchone() is not None

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether the index is whole, and no name has come into the folder or gone since."""
        seen = connection.execute(_SEEN).fetchone()
        return seen is not None and seen[0] == self._root.stat().st_mtime_ns

    def follow(self, connection: sqlite3.Connection, *, every_file: bool) -> None:
        """Enter new files, and take out those that are gone; in one thread at a time.

        Args:
            connection: Not within a transaction.
            every_file: Look at the size and time of each file, too, and read again what has changed.
        """
        with Folder.existing(self._root) as folder:
            modified_ns = folder.modified_ns()
            settled = self._is_settled(modified_ns)
            names = set(folder.names())
            compared = self._with_states if every_file else self._with_names
            changed, gone = compared(connection, folder, names)
            whole, are_many = True, len(changed) > _LOOKED_AT_ONCE
            while len(changed) > _AT_ONCE:
                whole &= self._enter(connection, folder, changed[:_AT_ONCE])
                changed = changed[_AT_ONCE:]
            contents = self._contents(folder, changed)
            if are_many and not settled:  # to read them takes longer than a folder needs to settle
                settled = self._is_settled(modified_ns) and set(folder.names()) == names
        seen = modified_ns if settled and whole and contents.whole else None
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
        """How many files may be pictures, and cannot be entered for their names."""
        found = connection.execute(_UNNAMED).fetchone()
        return int(found[0]) if found else 0

    def look_again(self, connection: sqlite3.Connection, names: Sequence[str]) -> None:
        """Bring the index up to some files, of which it is known that they were removed or changed."""
        with Folder.existing(self._root) as folder:
            states = _states(folder, names)
            contents = self._contents(folder, sorted(states.items(), key=_when_written))
        with changing(connection) as fts:
            index_tables.forget(connection, sorted(set(names) - states.keys()), fts=fts)
            contents.enter(connection, fts=fts)
            if not contents.whole:
                connection.execute(_SEEN_NOW, (None,))

    def look_through(self, connection: sqlite3.Connection) -> None:
        """Look at the size and time of each file, in no hurry, and read again what has changed."""
        last, until = 0, index_tables.last_id(connection)
        while last < until:
            last, known = index_tables.states_between(connection, last, until, limit=_LOOKED_AT_ONCE)
            with Folder.existing(self._root) as folder:
                states = _states(folder, known)
            if changed := [name for name, state in known.items() if states.get(name) != state]:
                self.look_again(connection, changed)
            time.sleep(_PAUSE_SECONDS)

    def _with_states(
        self, connection: sqlite3.Connection, folder: Folder, names: set[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """The files that are new or changed, the oldest first, and the names of those that are gone."""
        known, states = index_tables.read_states(connection), _states(folder, names)
        changed = (file for file in states.items() if known.get(file[0]) != file[1])
        return sorted(changed, key=_when_written), sorted(known.keys() - states.keys())

    def _with_names(
        self, connection: sqlite3.Connection, folder: Folder, names: set[str]
    ) -> tuple[Sequence[_File], Sequence[str]]:
        """The same, of the names alone."""
        known = self._names.of(connection)
        new = names - known
        gone = sorted(known - names) if len(names) - len(new) < len(known) else []
        self._names.discard(gone)
        return sorted(_states(folder, new).items(), key=_when_written), gone

    def _is_settled(self, modified_ns: int) -> bool:
        settled = _FINELY_SETTLED_NS if modified_ns % _FINE_NS else _SETTLED_NS
        return self._clock_ns() - modified_ns > settled

    def _enter(self, connection: sqlite3.Connection, folder: Folder, files: Sequence[_File]) -> bool:
        """Read some files and enter them; False where one may still be growing."""
        contents = self._contents(folder, files)
        with changing(connection) as fts:
            contents.enter(connection, fts=fts)
        return contents.whole

    def _contents(self, folder: Folder, files: Sequence[_File]) -> _Contents:
        found = {name: _read_or_none(folder, name) for name, _ in files}
        now = self._clock_ns()
        others = [(name, state) for name, state in files if found[name] is None]
        return _Contents(
            records=[record for record in found.values() if record],
            others=[name for name, _ in others],
            grown=[(name, *state) for name, state in others if now - state[1] > _GROWING_NS],
        )


@contextmanager
def changing(connection: sqlite3.Connection) -> Generator[bool]:
    """One transaction, and whether it has full-text search; the words are entered at its end."""
    fts = full_text.prepare(connection)
    with writing(connection):
        yield fts
        if fts:
            full_text.enter(connection)


def is_picture_name(name: str) -> bool:
    """Whether a file of this name may be a picture that can be entered."""
    return looks_like_picture(name) and _is_text(name)


def looks_like_picture(name: str) -> bool:
    """Whether a file of this name may be a picture."""
    return not name.startswith(".") and name.lower().endswith(PICTURE_EXTENSIONS)


def _is_text(name: str) -> bool:
    """Whether a name is text: SQLite has no place for any other."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def _states(folder: Folder, names: Iterable[str]) -> dict[str, State]:
    """The states of those that are files of pictures; a link is none, wherever it leads."""
    found: dict[str, State] = {}
    for name in filter(is_picture_name, names):
        try:
            status = folder.status(name)
        except OSError:  # removed meanwhile
            continue
        if S_ISREG(status.st_mode):
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _when_written(file: _File) -> tuple[int, str]:
    return file[1][1], file[0]


def _read_or_none(folder: Folder, name: str) -> Record | None:
    try:
        return read_record(folder, name)
    except OSError:  # removed meanwhile, or not for us to read
        return None
