"""Journal queries: define the schema of the batch journal, and its SQL statements as methods."""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from vllm_image_core.batches.batch_row import COLUMNS, BatchId, BatchRow, Counts, read_batch_row
from vllm_image_core.batches.stored_items import LOST, BatchItem, ItemState, is_request, request_from_json
from vllm_image_core.errors import JournalUnavailable
from vllm_image_core.provenance.facts import json_object
from vllm_image_core.storage.database import JOURNAL_FILE, DamagedDatabase, ImpossibleRow, Schema
from vllm_image_core.storage.owner import Holder, Owner

OutcomeRow = tuple[int, int, str]
"""A position, an `ItemState`, and its stored outcome as JSON."""

_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM batch"  # noqa: S608 - names of columns
_NEWEST: Final = 100
"""The newest batches, whose input images are kept so that failed edits can be retried."""

_ITEMS: Final = """
    SELECT item.position, item.request, outcome.state, outcome.told FROM item
    LEFT JOIN outcome ON outcome.batch = item.batch AND outcome.position = item.position
    WHERE item.batch = ?
"""
_EDITS_TO_KEEP: Final = f"""
    SELECT item.request FROM batch CROSS JOIN item ON item.batch = batch.number
    WHERE batch.state IN ('open', 'stopped') AND instr(item.request, '"inputs":')
    UNION ALL
    SELECT item.request FROM batch CROSS JOIN item ON item.batch = batch.number
    LEFT JOIN outcome ON outcome.batch = item.batch AND outcome.position = item.position
    WHERE batch.state IN ('partial', 'failed') AND batch.number > (SELECT max(number) FROM batch) - {_NEWEST}
    AND coalesce(outcome.state, 0) <> {int(ItemState.DONE)} AND instr(item.request, '"inputs":')
"""  # noqa: S608 - our own numbers
"""CROSS JOIN makes SQLite start from the few matching batches, not from all requests of the folder."""


_WITHOUT_INDEX: Final = "SELECT 1 FROM batch NOT INDEXED WHERE id = ?"
_EXTENT: Final = """
    SELECT count(*), min(position), max(position), (SELECT recorded FROM batch WHERE number = ?) FROM item
    WHERE batch = ?
"""


class LeaseLost(Exception):
    """Another process has taken the batch over."""


class JournalQueries:
    """Run the journal's statements on one connection, within the transaction that is open.

    Args:
        connection: A connection to the journal.
        root: The output folder, which contains the input images of edits.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path) -> None:
        self.connection = connection
        self._root = root

    def copy(self) -> bytes:
        """Return the complete database file as it is now."""
        with closing(sqlite3.connect(":memory:")) as copy:
            self.connection.backup(copy)
            return copy.serialize()

    def create(
        self,
        batch_id: BatchId,
        owner: Owner,
        *,
        created: int,
        fresh: bool,
        at_once: int,
        chosen: str | None = None,
        pixels: int = 0,
    ) -> int:
        """Insert a new batch that belongs to `owner`, and return its number."""
        self.connection.execute(
            "INSERT INTO batch (id, created, fresh, at_once, chosen, pixels, owner, host, place, pid, born,"
            " beat_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (batch_id, created, fresh, at_once, chosen, pixels, *_columns(owner), int(time.time())),
        )
        return int(self.connection.execute("SELECT last_insert_rowid()").fetchone()[0])

    def append(self, number: int, first: int, requests: Iterable[str], prompt: str | None) -> None:
        """Insert requests, starting at position `first`; `prompt` is that of the batch's first request."""
        rows = ((number, place, request) for place, request in enumerate(requests, first))
        added = self.connection.executemany("INSERT INTO item VALUES (?, ?, ?)", rows).rowcount
        self.connection.execute(
            "UPDATE batch SET recorded = ?, prompt = coalesce(prompt, ?) WHERE number = ?",
            (first + max(0, added), prompt, number),
        )

    def remove(self, number: int) -> None:
        """Delete a batch that was never started."""
        for table, column in (("item", "batch"), ("outcome", "batch"), ("batch", "number")):
            self.connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608 - our own names

    def complete(self, number: int) -> None:
        """Record that the batch has all of its requests."""
        self.connection.execute("UPDATE batch SET complete = 1 WHERE number = ?", (number,))

    def finish(self, number: int, outcomes: Iterable[OutcomeRow]) -> None:
        """Record the outcomes of some requests."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?)", ((number, *row) for row in outcomes)
        )

    def reset(self, number: int, positions: Iterable[int]) -> None:
        """Delete the outcomes of some requests, so that they wait again."""
        self.connection.executemany(
            "DELETE FROM outcome WHERE batch = ? AND position = ?", ((number, place) for place in positions)
        )

    def reset_failed(self, number: int) -> list[int]:
        """Let failed requests wait again, except lost ones, and return their positions."""
        failed = (number, int(ItemState.FAILED), number, LOST)
        chosen = (
            "FROM outcome WHERE batch = ? AND state = ?"
            " AND position NOT IN (SELECT position FROM item WHERE batch = ? AND request = ?)"
        )
        found = [place for (place,) in self.connection.execute(f"SELECT position {chosen}", failed)]
        self.connection.execute(f"DELETE {chosen}", failed)
        return found

    def renew_lease(self, number: int, token: str, counts: Counts) -> bool:
        """Renew the owner's lease, write its counts, and return whether somebody asks it to cancel.

        Raises:
            LeaseLost: Another process has taken the batch over.
        """
        changed = self.connection.execute(
            "UPDATE batch SET beat = beat + 1, beat_at = ?, running = ?, done = ?, failed = ?, reused = ?,"
            " left_running = ?, seconds = ?, cause = ? WHERE number = ? AND owner = ?",
            (int(time.time()), *astuple(counts), number, token),
        )
        if changed.rowcount != 1:
            raise LeaseLost
        row = self.connection.execute("SELECT cancel FROM batch WHERE number = ?", (number,)).fetchone()
        return bool(row[0])

    def release(self, number: int, state: str, counts: Counts) -> None:
        """Give up the lease of a batch, and record its state and counts."""
        self.connection.execute(
            "UPDATE batch SET owner = NULL, cancel = 0, state = ?, running = ?, done = ?, failed = ?,"
            " reused = ?, left_running = ?, seconds = ?, cause = ? WHERE number = ?",
            (state, *astuple(counts), number),
        )

    def acquire_lease(self, number: int, owner: Owner, seen: Holder | None) -> bool:
        """Take a batch over if its holder has not changed since it was `seen`; return whether that worked."""
        updated = self.connection.execute(
            "UPDATE batch SET owner = ?, host = ?, place = ?, pid = ?, born = ?, beat = beat + 1,"
            " beat_at = ?, cancel = 0, running = 0"
            " WHERE number = ? AND owner IS ? AND (owner IS NULL OR beat = ?)",
            (
                *_columns(owner),
                int(time.time()),
                number,
                seen and seen.owner.token,
                seen.heartbeat if seen else 0,
            ),
        )
        return updated.rowcount == 1

    def is_held(self, number: int, token: str) -> bool:
        """Whether a batch belongs to the owner with this token."""
        found = self.connection.execute("SELECT owner FROM batch WHERE number = ?", (number,)).fetchone()
        return found is not None and found[0] == token

    def reopen(self, number: int) -> None:
        """Set a batch that has ended back to open."""
        self.connection.execute("UPDATE batch SET state = 'open', cause = NULL WHERE number = ?", (number,))

    def record_resumed(self, number: int, images: int) -> None:
        """Record that this many images of a batch are requested again now."""
        self.connection.execute(
            "UPDATE batch SET resumed = ?, resumed_images = ? WHERE number = ?",
            (int(time.time()), images, number),
        )

    def set_concurrency(self, number: int, at_once: int, chosen: str | None) -> None:
        """Record how many images of a batch to generate at once, and where that number comes from."""
        self.connection.execute(
            "UPDATE batch SET at_once = ?, chosen = ? WHERE number = ?", (at_once, chosen, number)
        )

    def ask_to_cancel(self, number: int) -> None:
        """Ask the owner of a batch to cancel it."""
        self.connection.execute("UPDATE batch SET cancel = 1 WHERE number = ?", (number,))

    def items_after(self, number: int, after: int, limit: int) -> list[BatchItem]:
        """Requests after the position `after`, in order, with their outcomes."""
        rows = self.connection.execute(
            f"{_ITEMS} AND item.position > ? ORDER BY item.position LIMIT ?",
            (number, after, limit),
        )
        items = [_item(row, self._root) for row in rows]
        for item in items:
            if item.position <= after:
                raise ImpossibleRow(f"request {item.position} of a batch is out of order")
            after = item.position
        return items

    def items_at(self, number: int, positions: Sequence[int]) -> dict[int, BatchItem]:
        """Requests at some positions, at most 500, with their outcomes."""
        marks = ", ".join("?" * len(positions))
        rows = self.connection.execute(f"{_ITEMS} AND item.position IN ({marks})", (number, *positions))
        found = {item.position: item for item in (_item(row, self._root) for row in rows)}
        if missing := set(positions) - found.keys():
            raise ImpossibleRow(f"request {min(missing)} of a batch is missing")
        return found

    def outcomes(self, number: int) -> list[tuple[int, int]]:
        """The position and state of each request that has an outcome, in no particular order."""
        found = self.connection.execute(
            "SELECT position, state FROM outcome WHERE batch = ?", (number,)
        ).fetchall()
        if not all(_is_outcome(position, state) for position, state in found):
            raise ImpossibleRow("an outcome has impossible values")
        return found

    def check(self, number: int) -> None:
        """Check the journal for damage, and a batch for missing requests.

        Raises:
            sqlite3.DatabaseError: The journal is damaged.
        """
        found = self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise ImpossibleRow(str(found))
        count, first, last, recorded = self.connection.execute(_EXTENT, (number, number)).fetchone()
        if (count, first, last) != (recorded, 0 if recorded else None, recorded - 1 if recorded else None):
            raise ImpossibleRow(f"{recorded} requests of a batch were recorded, but only {count} are there")

    def edits_to_keep(self) -> Iterator[str]:
        """Recorded edits that may still be sent: unfinished ones, and failed ones of the newest batches."""
        return (request for (request,) in self.connection.execute(_EDITS_TO_KEEP))

    def batch_row(self, batch_id: str) -> BatchRow | None:
        """The row of a batch by its id, or None."""
        row = self.connection.execute(f"{_SELECT} WHERE id = ?", (batch_id,)).fetchone()
        # There are few batches, and a damaged index must not hide one.
        if row is None and self.connection.execute(_WITHOUT_INDEX, (batch_id,)).fetchone():
            raise ImpossibleRow("a batch is missing from the index of batches")
        return None if row is None else read_batch_row(row)

    def ids_starting_with(self, start: str, limit: int) -> tuple[str, ...]:
        """The ids of the newest batches that start with a string."""
        statement = "SELECT id FROM batch WHERE substr(id, 1, ?) = ? ORDER BY number DESC LIMIT ?"
        return tuple(
            batch_id for (batch_id,) in self.connection.execute(statement, (len(start), start, limit))
        )

    def batch_rows(self, limit: int) -> list[BatchRow]:
        """The newest batches, newest first."""
        rows = self.connection.execute(f"{_SELECT} ORDER BY number DESC LIMIT ?", (limit,))
        return [read_batch_row(row) for row in rows]

    def batch_rows_since(self, start: int) -> list[BatchRow]:
        """The batches that were requested after a time, in part or entirely, or that a process works on."""
        rows = self.connection.execute(
            f"{_SELECT} WHERE created > ? OR resumed > ? OR owner IS NOT NULL ORDER BY number DESC",
            (start, start),
        )
        return [read_batch_row(row) for row in rows]


def _item(row: tuple[Any, ...], root: Path) -> BatchItem:
    position, request, state, outcome = row
    if not (is_request(request) and _is_outcome(position, ItemState.WAITING if state is None else state)):
        raise ImpossibleRow("a request has impossible values")
    return BatchItem(
        position=position,
        request=request_from_json(request, root),
        state=ItemState.WAITING if state is None else ItemState(state),
        outcome=json_object(outcome) if outcome else {},
        lost=request == LOST,
    )


def _is_outcome(position: object, state: object) -> bool:
    return isinstance(position, int) and position >= 0 and state in set(ItemState)


def _columns(owner: Owner) -> tuple[str, str, str, int, str]:
    return owner.token, owner.host, owner.pid_namespace, owner.pid, owner.started


class DamagedJournal(DamagedDatabase, JournalUnavailable):
    """The journal is not a valid SQLite database; what can still be read is moved to a new one."""


_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE batch (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            created INTEGER NOT NULL,
            fresh INTEGER NOT NULL,
            at_once INTEGER NOT NULL,
            prompt TEXT,
            recorded INTEGER NOT NULL DEFAULT 0,
            complete INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL DEFAULT 'open',
            cause TEXT,
            cancel INTEGER NOT NULL DEFAULT 0,
            running INTEGER NOT NULL DEFAULT 0,
            done INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            reused INTEGER NOT NULL DEFAULT 0,
            left_running INTEGER NOT NULL DEFAULT 0,
            seconds REAL NOT NULL DEFAULT 0,
            owner TEXT,
            host TEXT,
            place TEXT,
            pid INTEGER,
            born TEXT,
            beat INTEGER NOT NULL DEFAULT 0,
            beat_at INTEGER NOT NULL DEFAULT 0
        )
        """,
        """
        CREATE TABLE item (
            batch INTEGER NOT NULL,
            position INTEGER NOT NULL,
            request TEXT NOT NULL,
            PRIMARY KEY (batch, position)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE outcome (
            batch INTEGER NOT NULL,
            position INTEGER NOT NULL,
            state INTEGER NOT NULL,
            told TEXT NOT NULL,
            PRIMARY KEY (batch, position)
        ) WITHOUT ROWID
        """,
    ),
    ("ALTER TABLE batch ADD COLUMN chosen TEXT",),
    ("ALTER TABLE batch ADD COLUMN pixels INTEGER NOT NULL DEFAULT 0",),
    (
        "ALTER TABLE batch ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE batch ADD COLUMN resumed_images INTEGER NOT NULL DEFAULT 0",
    ),
)
"""A batch's `number` is never reused and gives the order. `created` and `beat_at` are in seconds since 1970,
for display only. `state` is 'open' until the batch has ended. An item without an outcome waits. `request`
and `told` are JSON. `at_once` is how many images to generate at once, and `chosen` where that number comes
from: 'batch', 'studio', or NULL. `pixels` are those of all its images; 0 if they were not known in advance.
`resumed` is when `resumed_images` images of it were requested again under limits; 0 if they never were.
"""

JOURNAL: Final = Schema(
    file=JOURNAL_FILE,
    name="journal of batches",
    tables=("batch", "item", "outcome"),
    migrations=_MIGRATIONS,
    unavailable=JournalUnavailable,
    damaged=DamagedJournal,
    cache_kib=2_048,  # batches of any length are written at the end and read from there
)
"""The journal of a folder's batches; unlike the index, it cannot be rebuilt from the images."""
