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
                known = _columns(connection, table)
                for columns, rows in _readable(database.path, table, order, known):
                    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
                    connection.executemany(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 - our own names
        if database.set_aside(identity) is not None:
            with Folder.existing(database.path.parent) as folder:
                folder.place(name, database.path.name)
    finally:
        for leftover in (saved.path, Path(f"{saved.path}-journal")):
            leftover.unlink(missing_ok=True)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _readable(
    path: Path, table: str, order: str, known: Sequence[str]
) -> Iterator[tuple[Sequence[str], Sequence[tuple[Any, ...]]]]:
    """Some rows at a time, with the names of their columns: a file of an earlier version has not all."""
    for direction in ("", " DESC"):
        by = ", ".join(f"{column.strip()}{direction}" for column in order.split(","))
        with suppress(sqlite3.Error), closing(_opened(path)) as connection:
            there = set(_columns(connection, table))
            columns = [name for name in known if name in there]
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {by}")  # noqa: S608 - our own names
            while some := _some(rows):
                yield columns, [row for row in some if _is_whole(row)]


def _some(rows: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """The next rows; those before the damage also where the next one cannot be read."""
    found: list[tuple[Any, ...]] = []
    with suppress(sqlite3.Error):
        while len(found) < _AT_ONCE and (row := rows.fetchone()) is not None:
            found.append(row)
    return found


def _is_whole(row: Sequence[Any]) -> bool:
    """Whether no text has a NUL, which we never write: what lies behind the end of a file is read as such."""
    return not any(isinstance(value, str) and "\0" in value for value in row)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file_uri(path)}?mode=rw", uri=True)
    connection.execute("PRAGMA trusted_schema = OFF")
    # Else a file that is shorter than its head says is refused whole. Nothing is written to it here.
    connection.execute("PRAGMA writable_schema = ON")
    return connection
