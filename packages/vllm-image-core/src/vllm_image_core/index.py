"""The index of a folder of pictures: which there are, how they were made, and where to find the one sought.

The files are the truth. The index is made from them when it is missing or damaged, and follows them when
they are added, changed or removed by others; only new and changed files are read. To look at many files
takes longer than an answer may, so in a large folder that is done while the answer is given.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final, TypeVar

from vllm_image_core import full_text, picture_rows
from vllm_image_core.content_key import ContentKey
from vllm_image_core.database import DamagedDatabase, Database, writing
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.filename import PICTURE_EXTENSIONS
from vllm_image_core.folder import Folder
from vllm_image_core.picture_rows import State
from vllm_image_core.query import Query
from vllm_image_core.record import Record, read_record
from vllm_image_core.text import one_line

__all__ = ["Index", "Page"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_SEEN: Final = "SELECT value FROM state WHERE name = 'folder_modified_ns'"
_SEEN_NOW: Final = "INSERT OR REPLACE INTO state VALUES ('folder_modified_ns', ?)"

_AT_ONCE: Final = 5_000
"""Files that are read between two transactions: few enough that other writers wait for a second at most, and
many enough that forcing each transaction to the disk takes little of the time."""
_SETTLED_NS: Final = 2 * 10**9
"""The coarsest clock of a file system, FAT's: after that, another change shows another time."""
_GROWING_NS: Final = 60 * 10**9
"""A file that is no picture yet and was written in the last minute may still be on its way here."""
_MOST_OF_ONE_KEY: Final = 8
_LARGE: Final = 2_000
"""With more pictures, looking at each file takes longer than the 50 ms in which a question is answered."""

_LOOKS_AGAIN: Final = 3
"""How often single files are looked at again before the whole folder is."""

_IS_LARGE: Final = (
    "SELECT max(id) > ? AND EXISTS (SELECT 1 FROM state WHERE name = 'folder_modified_ns') FROM picture"
)
"""Whether that many were ever entered and all of them had been; an id is never used twice."""


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
        self._database = Database(root)
        self._clock_ns = clock_ns
        self._following = threading.Lock()
        self._followed = False

    def add(self, record: Record) -> None:
        """Enter a picture that was just saved, in place of what was known of a file of that name."""

        def enter(connection: sqlite3.Connection) -> None:
            with _changing(connection) as fts:
                picture_rows.enter(connection, [record], fts=fts)

        self._repaired(enter)

    def with_key(self, key: ContentKey) -> tuple[Record, ...]:
        """The pictures of one key as they were last seen, newest first; at most 8.

        The first time, the folder's files are looked at as by `find`; later only the index is.
        """
        if self._is_empty():
            return ()
        if not self._followed:
            self._keep_up()
        found = "width IS NOT NULL AND key = ? ORDER BY created DESC, id DESC LIMIT ?"
        return self._repaired(lambda connection: self._records(connection, found, (key, _MOST_OF_ONE_KEY)))

    def find(self, query: Query) -> Page:
        """Some pictures, newest first, as they are in the folder now.

        New and removed files are always noticed. One that was changed in its place is noticed by a new
        `Index`, by `follow`, and when it would be among the answers. In a folder of more than 2,000
        pictures, what other programs have put there is noticed after the answer, in a thread of its own.
        """
        if self._is_empty():
            return Page(pictures=())
        self._keep_up()
        for _ in range(_LOOKS_AGAIN):
            page = self._repaired(lambda connection: self._page(connection, query))
            changed = [record.path.name for record in page.pictures if not _is_there(record)]
            if not changed:
                return page
            self._repaired(lambda connection, names=changed: self._look_again(connection, names))
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

    def _keep_up(self) -> None:
        """Bring the index up to the folder; in a large one, begin to do it and do not wait."""
        if self._followed and not self._repaired(self._has_changed):
            return
        if not self._repaired(_is_large):
            self.follow(every_file=not self._followed)
        elif not self._following.locked():
            threading.Thread(target=self._follow_meanwhile, name=f"index of {self._root}").start()

    def _follow_meanwhile(self) -> None:
        try:
            self.follow(every_file=not self._followed)
        except IndexUnavailable as error:  # the next question meets it again
            _logger.info("%s", error.message)

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
            known = picture_rows.known(connection, with_states=every_file)
            names = set(folder.names())
            looked_at = names if every_file else names - known.keys()
            states = _states(folder, filter(_is_picture_name, looked_at))
            changed = [file for file in states.items() if known.get(file[0]) != file[1]]
            for files in picture_rows.chunks(sorted(changed, key=_when_written), _AT_ONCE):
                settled &= self._read(connection, folder, files)
        with _changing(connection) as fts:
            gone = known.keys() - (states.keys() if every_file else names)
            picture_rows.forget(connection, sorted(gone), fts=fts)
            connection.execute(_SEEN_NOW, (modified_ns if settled else None,))

    def _look_again(self, connection: sqlite3.Connection, names: Sequence[str]) -> None:
        """Bring the index up to some files that were removed or changed."""
        with Folder.existing(self._root) as folder:
            states = _states(folder, names)
            settled = self._read(connection, folder, sorted(states.items(), key=_when_written))
        with _changing(connection) as fts:
            picture_rows.forget(connection, sorted(set(names) - states.keys()), fts=fts)
            if not settled:
                connection.execute(_SEEN_NOW, (None,))

    def _read(
        self, connection: sqlite3.Connection, folder: Folder, files: Sequence[tuple[str, State]]
    ) -> bool:
        """Read some files and enter them; False where one may still be growing."""
        found = {name: _read_or_none(folder, name) for name, _ in files}
        now = self._clock_ns()
        others = [(name, state) for name, state in files if found[name] is None]
        grown = [(name, *state) for name, state in others if now - state[1] > _GROWING_NS]
        with _changing(connection) as fts:
            picture_rows.forget(connection, [name for name, _ in others], fts=fts)
            picture_rows.enter(connection, [record for record in found.values() if record], fts=fts)
            picture_rows.enter_no_pictures(connection, grown)
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
        rows = connection.execute(f"{picture_rows.SELECT} WHERE {condition}", tuple(values))
        return tuple(picture_rows.record_of(self._root, row) for row in rows)

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


def _is_large(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(_IS_LARGE, (_LARGE,)).fetchone()[0])


def _is_there(record: Record) -> bool:
    try:
        status = record.path.lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.bytes, record.modified_ns)


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
