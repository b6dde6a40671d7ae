"""What can still be read of a damaged journal, taken over into a new one."""

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vllm_image_core.files.database import Database, file_uri, writing
from vllm_image_core.files.folder import Folder

__all__ = ["salvaged"]

_TABLES: Final = {"batch": "number", "item": "batch, position", "outcome": "batch, position"}
"""The tables, each with what its rows are ordered by in the file."""

_AT_ONCE: Final = 500


def salvaged(database: Database, identity: tuple[int, int]) -> None:
    """Set a damaged journal aside, and put what can be read of it into its place.

    Each table is read from both ends up to where the damage is: a file that was cut keeps what came before.

    Args:
        database: The journal.
        identity: Which file it was, by device and inode; one that another process has saved is left alone.

    Raises:
        DatabaseUnavailable: It cannot be renamed, or the new one cannot be written.
    """
    name = f"{database.path.stem}.salvaged-{secrets.token_hex(8)}.sqlite3"
    saved = replace(database, schema=replace(database.schema, file=name))
    try:
        with saved.opened() as connection, writing(connection):
            for table, order in _TABLES.items():
                for rows in _readable(database.path, table, order):
                    marks = ", ".join("?" * len(rows[0]))
                    connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names
        if database.set_aside(identity) is not None:
            with Folder.existing(database.path.parent) as folder:
                folder.place(name, database.path.name)
    finally:
        for leftover in (saved.path, Path(f"{saved.path}-journal")):
            leftover.unlink(missing_ok=True)


def _readable(path: Path, table: str, order: str) -> Iterator[Sequence[tuple[Any, ...]]]:
    for direction in ("", " DESC"):
        by = ", ".join(f"{column.strip()}{direction}" for column in order.split(","))
        with suppress(sqlite3.Error), closing(_opened(path)) as connection:
            rows = connection.execute(f"SELECT * FROM {table} ORDER BY {by}")  # noqa: S608 - our own names
            while some := _some(rows):
                yield some


def _some(rows: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """The next rows; those before the damage also where the next one cannot be read."""
    found: list[tuple[Any, ...]] = []
    with suppress(sqlite3.Error):
        while len(found) < _AT_ONCE and (row := rows.fetchone()) is not None:
            found.append(row)
    return found


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file_uri(path)}?mode=rw", uri=True)
