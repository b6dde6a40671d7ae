"""The index of a folder of pictures: which there are, how they were made, and where to find the one sought.

The files are the truth. The index is made from them when it is missing or damaged, and follows them when
they are added, changed or removed by others; only new and changed files are read.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, TypeVar

from vllm_image_core import full_text
from vllm_image_core.content_key import ContentKey
from vllm_image_core.database import DamagedDatabase, Database, writing
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.filename import PICTURE_EXTENSIONS
from vllm_image_core.folder import Folder
from vllm_image_core.index_schema import INDEX
from vllm_image_core.query import Query
from vllm_image_core.record import EPOCH, Record, read_record
from vllm_image_core.text import one_line

__all__ = ["Index", "Page"]

T = TypeVar("T")

_COLUMNS: Final = (
    "name",
    "bytes",
    "modified_ns",
    "created",
    "width",
    "height",
    "key",
    "prompt",
    "negative_prompt",
    "model",
    "seed",
    "num_inference_steps",
    "guidance_scale",
    "seconds",
    "batch",
    "tag",
    "position",
)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM picture"  # noqa: S608 - names of columns
_INSERT: Final = f"INSERT INTO picture ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - likewise
_INSERT_NO_PICTURE: Final = "INSERT INTO picture (name, bytes, modified_ns, created) VALUES (?, ?, ?, 0)"
_SEEN: Final = "SELECT value FROM state WHERE name = 'folder_modified_ns'"
_SEEN_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('folder_modified_ns', ?)"

_AT_ONCE: Final = 5_000
"""Files that are read between two transactions: few enough that other writers wait for a second at most, and
many enough that forcing each transaction to the disk takes little of the time."""
_NAMES_AT_ONCE: Final = 500
"""Older versions of SQLite take 999 values in one statement."""
_SETTLED_NS: Final = 2 * 10**9
"""The coarsest clock of a file system, FAT's: after that, another change shows another time."""
_GROWING_NS: Final = 60 * 10**9
"""A file that is no picture yet and was written in the last minute may still be on its way here."""
_MOST_OF_ONE_KEY: Final = 8

State = tuple[int, int]
"""A file's size in bytes, and when it was written in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the pictures that were found, newest first.

    Attributes:
        pictures: At most as many as were asked for.
        next_offset: Where the next page begins; None where this is the last.
    """

    pictures: tuple[Record, ...]
    next_offset: int | None = None


class Index:
    """The index of one folder; safe in many threads and processes, which wait for each other.

    Its methods wait for the disk: call them from a thread where an event loop runs. All of them raise
    `IndexUnavailable` where the index cannot be read or written.

    Args:
        root: The folder of the pictures, absolute.
        clock_ns: Nanoseconds since 1970.
    """

    def __init__(self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._database = Database(root, INDEX)
        self._clock_ns = clock_ns
        self._following = threading.Lock()
        self._followed = False

    def add(self, record: Record) -> None:
        """Enter a picture that was just saved, in place of what was known of a file of that name."""

        def enter(connection: sqlite3.Connection) -> None:
            with _changing(connection) as fts:
                _enter(connection, [record], fts=fts)

        self._repaired(enter)

    def with_key(self, key: ContentKey) -> tuple[Record, ...]:
        """The pictures of one key as they were last seen, newest first; at most 8.

        The first time, the folder's files are looked at; later only the index is.
        """
        if self._is_empty():
            return ()
        if not self._followed:
            self.follow()
        found = "width IS NOT NULL AND key = ? ORDER BY created DESC, id DESC LIMIT ?"
        return self._repaired(lambda connection: self._records(connection, found, (key, _MOST_OF_ONE_KEY)))

    def in_batch(self, batch: str, positions: Sequence[int]) -> dict[int, Record]:
        """The pictures of some requests of a batch, by their positions, as they were last seen.

        The first time, the folder's files are looked at; later only the index is.

        Args:
            batch: Its id.
            positions: At most 500.
        """
        if self._is_empty():
            return {}
        if not self._followed:
            self.follow()
        marks = ", ".join("?" * len(positions))
        found = f"width IS NOT NULL AND batch = ? AND position IN ({marks}) ORDER BY id"
        records = self._repaired(lambda connection: self._records(connection, found, (batch, *positions)))
        return {record.position: record for record in records if record.position is not None}

    def find(self, query: Query) -> Page:
        """Some pictures, newest first, as they are in the folder now.

        New and removed files are always noticed. One that was changed in its place is noticed by a new
        `Index`, by `follow`, and when it would be among the answers.
        """
        if self._is_empty():
            return Page(pictures=())
        self.follow(every_file=not self._followed)
        page = self._repaired(lambda connection: self._page(connection, query))
        if all(map(_is_there, page.pictures)):
            return page
        self.follow()
        return self._repaired(lambda connection: self._page(connection, query))

    def follow(self, *, every_file: bool = True) -> None:
        """Bring the index up to the folder; made anew where it was lost.

        Args:
            every_file: Look at the size and time of each file; otherwise only at which files there are, and
                at nothing when none was added or removed since.
        """
        with self._following:
            if not self._followed:
                self._repaired(self._database.check_whole)
            if every_file or self._repaired(self._has_changed):
                self._repaired(lambda connection: self._follow(connection, every_file=every_file))
            self._followed = True

    def _is_empty(self) -> bool:
        """Whether there is neither an index nor a picture; nothing is made in such a folder."""
        if self._database.path.exists():
            return False
        try:
            return not any(map(_is_picture_name, os.listdir(self._root)))  # noqa: PTH208 - names only
        except OSError:  # there is no such folder
            return True

    def _has_changed(self, connection: sqlite3.Connection) -> bool:
        seen = connection.execute(_SEEN).fetchone()
        return seen is None or seen[0] != self._root.stat().st_mtime_ns

    def _follow(self, connection: sqlite3.Connection, *, every_file: bool) -> None:
        with Folder.existing(self._root) as folder:
            modified_ns = folder.modified_ns()
            settled = self._clock_ns() - modified_ns > _SETTLED_NS
            known = _known(connection, with_states=every_file)
            names = set(filter(_is_picture_name, folder.names()))
            states = _states(folder, names if every_file else names - known.keys())
            changed = [file for file in states.items() if known.get(file[0]) != file[1]]
            for files in _chunks(sorted(changed, key=_when_written), _AT_ONCE):
                settled &= self._read(connection, folder, files)
        with _changing(connection) as fts:
            gone = known.keys() - (states.keys() if every_file else names)
            _forget(connection, sorted(gone), fts=fts)
            connection.execute(_SEEN_NOW, (modified_ns if settled else None,))

    def _read(
        self, connection: sqlite3.Connection, folder: Folder, files: Sequence[tuple[str, State]]
    ) -> bool:
        """Read some files and enter them; False where one may still be growing."""
        found = {name: _read_or_none(folder, name) for name, _ in files}
        now = self._clock_ns()
        others = [(name, state) for name, state in files if found[name] is None]
        grown = [(name, *state) for name, state in others if now - state[1] > _GROWING_NS]
        with _changing(connection) as fts:
            _forget(connection, [name for name, _ in others], fts=fts)
            _enter(connection, [record for record in found.values() if record], fts=fts)
            connection.executemany(_INSERT_NO_PICTURE, grown)
        return len(grown) == len(others)

    def _page(self, connection: sqlite3.Connection, query: Query) -> Page:
        fts = full_text.prepare(connection)
        if fts and query.text is not None and full_text.is_behind(connection):
            with _changing(connection):
                pass  # the words of pictures that a host without FTS5 has entered
        common = fts and full_text.are_common(connection, query.match)
        condition, values = query.conditions(fts=fts, common=common)
        # What is left out is counted in an index, and only what is shown is read.
        ids = f"SELECT id FROM picture WHERE {condition} ORDER BY created DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608 - our own words
        found = self._records(
            connection,
            f"id IN ({ids}) ORDER BY created DESC, id DESC",
            (*values, query.limit + 1, query.offset),
        )
        more = len(found) > query.limit
        return Page(pictures=found[: query.limit], next_offset=query.offset + query.limit if more else None)

    def _records(
        self, connection: sqlite3.Connection, condition: str, values: Iterable[object]
    ) -> tuple[Record, ...]:
        rows = connection.execute(f"{_SELECT} WHERE {condition}", tuple(values))
        return tuple(_record(self._root, row) for row in rows)

    def _repaired(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work; where the file turns out to be damaged, with a new one, made from the pictures."""
        try:
            return self._done(work)
        except DamagedDatabase as error:
            self._database.set_aside(error.identity)
            self._done(lambda connection: self._follow(connection, every_file=True))
            return self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._database.opened() as connection:
                return work(connection)
        except OSError as error:  # the folder was removed, or cannot be read
            raise IndexUnavailable(
                f"The pictures in {one_line(str(self._root), limit=300)} cannot be listed: "
                f"{one_line(error.strerror or str(error))}."
            ) from error


@contextmanager
def _changing(connection: sqlite3.Connection) -> Generator[bool]:
    """One transaction, and whether it has full-text search; the words are entered at its end."""
    fts = full_text.prepare(connection)
    with writing(connection):
        yield fts
        if fts:
            full_text.enter(connection)


def _enter(connection: sqlite3.Connection, records: Sequence[Record], *, fts: bool) -> None:
    _forget(connection, [record.path.name for record in records], fts=fts)
    connection.executemany(_INSERT, map(_row, records))


def _forget(connection: sqlite3.Connection, names: Sequence[str], *, fts: bool) -> None:
    for some in _chunks(names, _NAMES_AT_ONCE):
        if fts:
            full_text.forget(connection, some)
        marks = ", ".join("?" * len(some))
        connection.execute(f"DELETE FROM picture WHERE name IN ({marks})", some)  # noqa: S608 - marks only


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.path.name,
        record.bytes,
        record.modified_ns,
        (record.created - EPOCH) // timedelta(seconds=1),
        *(getattr(record, column) for column in _COLUMNS[4:]),
    )


def _record(root: Path, row: tuple[Any, ...]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    name, created = values.pop("name"), values.pop("created")
    return Record(path=root / name, created=EPOCH + timedelta(seconds=created), **values)


def _is_there(record: Record) -> bool:
    try:
        status = record.path.lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.bytes, record.modified_ns)


def _known(connection: sqlite3.Connection, *, with_states: bool) -> dict[str, State | None]:
    if not with_states:
        return {name: None for (name,) in connection.execute("SELECT name FROM picture")}
    rows = connection.execute("SELECT name, bytes, modified_ns FROM picture")
    return {name: (size, modified_ns) for name, size, modified_ns in rows}


def _is_picture_name(name: str) -> bool:
    if name.startswith(".") or not name.lower().endswith(PICTURE_EXTENSIONS):
        return False
    # SQLite has no place for names that are no text.
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def _states(folder: Folder, names: Iterable[str]) -> dict[str, State]:
    """The states of those that are files; a link is none, wherever it leads."""
    found: dict[str, State] = {}
    for name in names:
        try:
            status = folder.status(name)
        except OSError:  # removed meanwhile
            continue
        if S_ISREG(status.st_mode):
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _when_written(file: tuple[str, State]) -> tuple[int, str]:
    return file[1][1], file[0]


def _read_or_none(folder: Folder, name: str) -> Record | None:
    try:
        return read_record(folder, name)
    except OSError:  # removed meanwhile, or not for us to read
        return None


def _chunks(items: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    return (items[start : start + length] for start in range(0, len(items), length))
