"""Find images in a folder with a SQLite index that follows the files and can be rebuilt from them.

The files are the source of truth. If the index is missing or damaged, it is rebuilt from them. It also
follows files that others add, change or remove; only new and changed files are read.

Added and removed names are noticed before each answer. In a large folder, checking the size and time of each
file would delay an answer too long, so it is done once, after the first answer. An answer is given only from
a complete index, and from the same file that was found complete: at any moment another process may replace
it with one that is still being built.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.storage import full_text, index_tables
from vllm_image_core.storage.database import DamagedDatabase, Database
from vllm_image_core.storage.grouped_writes import GroupedWrites
from vllm_image_core.storage.index_tables import INDEX
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.record import Record
from vllm_image_core.storage.subfolders import name_in
from vllm_image_core.storage.sync import IndexSync, OnProgress, changing, looks_like_picture
from vllm_image_core.text import one_line

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_MOST_OF_ONE_KEY: Final = 8
_LARGE: Final = 2_000
"""With more images, checking each file takes longer than the 50 ms that a query may take."""
_MOST_UPDATES: Final = 3
"""How often single files are checked again before the complete folder is."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Page(Displayed):
    """One page of the images that were found, newest first.

    Attributes:
        pictures: The images, at most as many as requested.
        next_offset: The offset of the next page; None if this is the last page.
        unnamed: How many image files in the folder are never found, because their names are not valid UTF-8.
    """

    pictures: tuple[Record, ...]
    next_offset: int | None = None
    unnamed: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about images that are not listed."""
        if not self.unnamed:
            return ()
        if self.unnamed == 1:
            return ("1 image file is not listed because its name is not valid UTF-8. Rename it to find it.",)
        note = f"{self.unnamed} image files are not listed because their names are not valid UTF-8."
        return (f"{note} Rename them to find them.",)

    def _card(self) -> Card:
        from vllm_image_core.display.thumbnails import Thumbnail  # noqa: PLC0415 - for notebooks alone

        count = len(self.pictures)
        more = self.next_offset and f"The next page: offset={self.next_offset}."
        return Card(
            title=f"{count} {'image' if count == 1 else 'images'}, newest first",
            columns=("image", "file", "seed", "size", "prompt"),
            rows=[
                (Thumbnail(each.path, each.path.name), each.path.name, each.seed, str(each.size), each.prompt)
                for each in self.pictures
            ],
            notes=(*self.notes, *((more,) if more else ())),
        )


class Index:
    """The index of one folder; safe to use from many threads and processes, which wait for each other.

    Its methods block on the disk: under an event loop, call them in a thread. All of them raise
    `IndexUnavailable` if the index cannot be read or written.

    Args:
        root: The folder of the images, absolute.
        clock_ns: Returns nanoseconds since 1970.
        group_seconds: For how long added images may wait to be entered together.
    """

    def __init__(
        self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns, group_seconds: float = 0.0
    ) -> None:
        self._root = root
        self._database = Database(root, INDEX)
        self._sync = IndexSync(root, clock_ns=clock_ns)
        self._sync_lock = threading.Lock()
        self._check_lock = threading.Lock()
        self._every_file_checked = False
        self._added = GroupedWrites(self._enter, seconds=group_seconds)

    def add(self, record: Record, *, now: bool = True) -> None:
        """Add an image that was just saved, replacing any entry for a file of that name.

        Unless it must be entered `now`, it may wait a moment to be entered with others. Until then, this
        index enters it before it answers, and others read its file.
        """
        self._added.add(record, now=now)

    def flush(self) -> None:
        """Enter the images that still wait."""
        self._added.flush()

    def _enter(self, records: Sequence[Record]) -> None:
        def enter(connection: sqlite3.Connection) -> None:
            with changing(connection) as fts:
                index_tables.enter(connection, self._root, records, fts=fts)

        self._run_with_repair(enter)

    def with_key(self, key: ContentKey) -> tuple[Record, ...]:
        """Return the images with a content hash as they were last seen, newest first; at most 8.

        The first call checks the files of the folder, as `find` does; later calls read only the index.
        """
        self.flush()
        if self._is_empty():
            return ()
        found = "width IS NOT NULL AND key = ? ORDER BY created DESC, id DESC LIMIT ?"
        return self._find_last_seen(found, (key, _MOST_OF_ONE_KEY))

    def in_batch(self, batch: str, positions: Sequence[int]) -> dict[int, Record]:
        """Return the images of some requests of a batch, by position, as they were last seen.

        The first call checks the files of the folder, as `find` does; later calls read only the index. At
        most 500 positions are asked for at once.
        """
        self.flush()
        if self._is_empty():
            return {}
        marks = ", ".join("?" * len(positions))
        found = f"width IS NOT NULL AND batch = ? AND position IN ({marks}) ORDER BY id"
        records = self._find_last_seen(found, (batch, *positions))
        return {record.position: record for record in records if record.position is not None}

    def find(self, query: Query, *, on_progress: OnProgress | None = None) -> Page:
        """Return one page of images, newest first, as they are in the folder now.

        New and removed files are always noticed. A file that was changed in place is noticed by a new
        `Index`, by `follow`, and if it would be in the answer; in a folder of more than 2,000 images, a new
        `Index` notices it shortly after its first answer.

        A folder that is searched for the first time is read first; `on_progress` is then called with the
        number of files that have been read and the number of all.
        """
        self.flush()
        if self._is_empty():
            return Page(pictures=())
        page = self._run_with_repair(lambda connection: self._answer(connection, query, on_progress))
        self._start_file_check()
        return page

    def follow(self, *, every_file: bool = True) -> None:
        """Update the index from the folder; rebuild it if it was lost.

        Without `every_file`, only the names are compared, and nothing at all if no file was added or removed
        since.
        """

        def follow(connection: sqlite3.Connection) -> None:
            if every_file:
                self._follow_files(connection)
            else:
                self._follow_names(connection)

        self._run_with_repair(follow)

    def _is_empty(self) -> bool:
        """Return whether there is neither an index nor an image; such a folder is left untouched."""
        if self._database.exists():
            return False
        try:
            if any(map(looks_like_picture, os.listdir(self._root))):  # noqa: PTH208 - names only
                return False
            return not self._sync.has_subfolders()
        except FileNotFoundError:  # there is no such folder
            return True
        except OSError as error:
            raise self._listing_error(error) from error

    def _find_last_seen(self, found: str, values: Sequence[object]) -> tuple[Record, ...]:
        def answer(connection: sqlite3.Connection) -> tuple[Record, ...]:
            if not (self._every_file_checked and self._sync.is_complete(connection)):
                self._update(connection)
            return self._records(connection, found, values)

        records = self._run_with_repair(answer)
        self._start_file_check()
        return records

    def _answer(self, connection: sqlite3.Connection, query: Query, on_progress: OnProgress | None) -> Page:
        self._update(connection, on_progress)
        for _ in range(_MOST_UPDATES):
            page = self._page(connection, query)
            changed = [name_in(self._root, each.path) for each in page.pictures if not _is_there(each)]
            if not changed:
                return page
            self._sync.update_files(connection, changed)
        self._follow_files(connection)
        return self._page(connection, query)

    def _update(self, connection: sqlite3.Connection, on_progress: OnProgress | None = None) -> None:
        """Update this index file from the folder, as far as an answer can wait for it."""
        if self._every_file_checked or (
            self._sync.is_complete(connection) and index_tables.last_id(connection) > _LARGE
        ):
            self._follow_names(connection, on_progress)
        else:
            self._follow_files(connection, on_progress)

    def _follow_names(self, connection: sqlite3.Connection, on_progress: OnProgress | None = None) -> None:
        if self._sync.is_current(connection):
            return
        with self._sync_lock:
            if not self._sync.is_current(connection):  # another thread may have been first
                self._sync.follow(connection, every_file=False, on_progress=on_progress)

    def _follow_files(self, connection: sqlite3.Connection, on_progress: OnProgress | None = None) -> None:
        with self._sync_lock:
            if not self._every_file_checked:
                self._check(connection)
            self._sync.follow(connection, every_file=True, on_progress=on_progress)
            self._every_file_checked = True

    def _start_file_check(self) -> None:
        """Start checking every file of a large folder in a thread, unless that was done or is in progress.

        The thread may end with the process at any moment: each of its changes is one transaction.
        """
        if self._every_file_checked or not self._check_lock.acquire(blocking=False):
            return
        name = f"index of {self._root}"
        try:
            threading.Thread(target=self._run_file_check, name=name, daemon=True).start()
        except RuntimeError:  # the process is ending, or may have no more threads
            self._check_lock.release()

    def _run_file_check(self) -> None:
        try:
            for work in (self._check, self._compare_names, self._sync.check_every_file):
                if self._is_empty():  # the folder was removed in the meantime and must not be created again
                    return
                self._run_with_repair(work)
            self._every_file_checked = True
        except IndexUnavailable as error:  # the next query reports it again
            _logger.info("%s", error.message)
        finally:
            self._check_lock.release()

    def _check(self, connection: sqlite3.Connection) -> None:
        """Check for damage; in a small index, or if its b-trees disagree on the count, check each row."""
        self._database.check_file(connection)
        if index_tables.last_id(connection) <= _LARGE or not index_tables.counts_agree(connection):
            self._database.check_each_row(connection)

    def _compare_names(self, connection: sqlite3.Connection) -> None:
        with self._sync_lock:
            self._sync.follow(connection, every_file=False)

    def _page(self, connection: sqlite3.Connection, query: Query) -> Page:
        fts = full_text.prepare(connection)
        if fts and query.text is not None and full_text.is_behind(connection):
            with changing(connection):
                pass  # enters the words of images that a host without FTS5 has added
        if fts and query.match and query.tags:
            full_text.enter_retagged(connection, query.tags)
        common = fts and full_text.are_common(connection, query.match)
        condition, values = query.conditions(fts=fts, common=common)
        # Skipped rows are only counted in an index; only the rows on the page are read.
        ids = f"SELECT id FROM picture WHERE {condition} ORDER BY created DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608 - our own words
        found = self._records(
            connection,
            f"id IN ({ids}) ORDER BY created DESC, id DESC",
            (*values, query.limit + 1, query.offset),
        )
        more = len(found) > query.limit
        return Page(
            pictures=found[: query.limit],
            next_offset=query.offset + query.limit if more else None,
            unnamed=self._sync.unnameable_count(connection),
        )

    def _records(
        self, connection: sqlite3.Connection, condition: str, values: Iterable[object]
    ) -> tuple[Record, ...]:
        rows = connection.execute(f"{index_tables.SELECT} WHERE {condition}", tuple(values))
        return tuple(index_tables.record_of(self._root, row) for row in rows)

    def _run_with_repair(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation; if the index is damaged, rebuild it from the images and run it on the new one."""
        try:
            return self._database.run(work, repair=self._rebuild)
        except OSError as error:  # the folder was removed, or cannot be read
            raise self._listing_error(error) from error

    def _rebuild(self, damage: DamagedDatabase) -> None:
        with self._sync_lock:
            self._database.set_aside(damage.identity)
        with self._database.open() as connection:
            self._follow_names(connection)

    def _listing_error(self, error: OSError) -> IndexUnavailable:
        return IndexUnavailable(
            f"The images in {one_line(str(self._root), limit=300)} cannot be listed: {reason_of(error)}.",
            next_step=next_step_after(error, otherwise=IndexUnavailable.usual_next_step),
        )


def _is_there(record: Record) -> bool:
    try:
        status = record.path.lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.bytes, record.modified_ns)
