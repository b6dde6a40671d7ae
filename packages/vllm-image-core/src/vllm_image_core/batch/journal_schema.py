"""The tables of a folder's journal of batches: what was asked for, what became of it, who works on it."""

from typing import Final

from vllm_image_core.errors import JournalUnavailable
from vllm_image_core.files.database import DamagedDatabase, Schema

__all__ = ["JOURNAL", "DamagedJournal"]


class DamagedJournal(DamagedDatabase, JournalUnavailable):
    """The journal is no SQLite database any more; what can still be read is taken over into a new one."""


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
)
"""A batch's `number` is never used twice and gives the order; `created` and `beat_at` are in seconds since
1970, and nothing is decided by them. `state` is 'open' until the batch has ended. An item without an outcome
waits. `request` and `told` are JSON. `chosen` tells who has said how many pictures are under way, `at_once`:
'batch', 'studio', or nobody.
"""

JOURNAL: Final = Schema(
    file="batches.sqlite3",
    name="journal of batches",
    tables=("batch", "item", "outcome"),
    migrations=_MIGRATIONS,
    unavailable=JournalUnavailable,
    damaged=DamagedJournal,
    cache_kib=2_048,  # a batch of any length is written at its end, and read from there
)
"""The journal of a folder's batches; unlike the index it cannot be made again from the pictures."""
