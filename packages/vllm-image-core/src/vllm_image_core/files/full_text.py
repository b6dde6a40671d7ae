"""The words of the pictures, in SQLite's full-text search where this Python has it.

The table is no part of the schema: a host whose SQLite lacks FTS5 uses the file, too, and leaves it alone.
So no trigger fills it; the words of all pictures that came since are entered at the end of each change.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from vllm_image_core.files.words import spaced

_TABLE: Final = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS picture_text USING fts5(words, content='', "
    "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co So'\")"
)
_WORDS: Final = "spaced(coalesce(prompt, '') || ' ' || coalesce(tag, '') || ' ' || name)"
_UNTIL: Final = "coalesce((SELECT value FROM state WHERE name = 'text_until'), 0)"
"""The last picture whose words were entered."""

_ENTER: Final = (
    f"INSERT INTO picture_text (rowid, words) SELECT id, {_WORDS} FROM picture "  # noqa: S608 - our own words
    f"WHERE id > {_UNTIL} AND width IS NOT NULL"
)
_ENTERED: Final = "INSERT OR REPLACE INTO state SELECT 'text_until', coalesce(max(id), 0) FROM picture"
_MANY: Final = 5_000
"""Where beginning with the words and beginning with the newest take about as long."""
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM picture_text WHERE picture_text MATCH ? LIMIT ?)"
_BEHIND: Final = f"SELECT max(id) > {_UNTIL} FROM picture"  # noqa: S608 - our own words


def prepare(connection: sqlite3.Connection) -> bool:
    """Make full-text search ready; False where this SQLite has none, or not one that knows our tokenizer."""
    connection.create_function("spaced", 1, spaced, deterministic=True)
    try:
        connection.execute(_TABLE)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return False
    return True


def enter(connection: sqlite3.Connection) -> None:
    """Enter the words of all pictures that came since the last time; within a transaction."""
    connection.execute(_ENTER)
    connection.execute(_ENTERED)


def is_behind(connection: sqlite3.Connection) -> bool:
    """Whether pictures came since."""
    return bool(connection.execute(_BEHIND).fetchone()[0])


def are_common(connection: sqlite3.Connection, expression: str) -> bool:
    """Whether many pictures match an FTS5 expression."""
    return bool(expression) and connection.execute(_COUNT, (expression, _MANY)).fetchone()[0] == _MANY


def forget(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Take out the words of some pictures, before the pictures are; within a transaction.

    FTS5 keeps no texts and has to be given them again.
    """
    marks = ", ".join("?" * len(names))
    select = f"SELECT 'delete', id, {_WORDS} FROM picture WHERE name IN ({marks})"  # noqa: S608 - marks only
    connection.execute(
        "INSERT INTO picture_text (picture_text, rowid, words) "
        f"{select} AND id <= {_UNTIL} AND width IS NOT NULL",
        names,
    )
