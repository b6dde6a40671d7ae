"""Recover a damaged journal: copy what can still be read into a new one, and count what is lost."""

import secrets
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from vllm_omni_client.imaging import retry_while_held

from vllm_image_core.batches.batch_row import INTEGER_COLUMNS, TEXT_COLUMNS, is_batch_row
from vllm_image_core.batches.stored_items import LOST, ItemState, is_request
from vllm_image_core.provenance.facts import json_object
from vllm_image_core.storage.database import UNREADABLE, Database, file_uri, writing

Row = Mapping[str, Any]

_KEYS: Final = {"batch": ("number",), "item": ("batch", "position"), "outcome": ("batch", "position")}
"""The tables, each with the columns that order its rows in the file."""

_CHUNK_ROWS: Final = 500
_ROWS_OF_A_PAGE: Final = 400
"""Maximum requests that fit on a page of 4 KiB; a larger number is damage."""

_MOST_NUMBERS: Final = 100_000

_DEFAULTS: Final[Row] = {
    **dict.fromkeys(INTEGER_COLUMNS, 0),
    **dict.fromkeys(TEXT_COLUMNS),
    "at_once": 1,
    "complete": 1,
    "seconds": 0.0,
    "state": "open",
    "pid": None,
}
"""Defaults for values of a batch's row that are impossible."""

_HOLDER: Final = ("owner", "host", "place", "pid", "born")

_DELETE_ORPHANS: Final = "DELETE FROM {table} WHERE batch NOT IN (SELECT number FROM batch)"
_REOPEN_INCOMPLETE: Final = """
    UPDATE batch SET state = 'open', cause = NULL
    WHERE state IN ('done', 'partial', 'failed') AND done + failed < recorded
"""
_RECOUNT: Final = """
    UPDATE batch SET
        done = (SELECT count(*) FROM outcome WHERE batch = number AND outcome.state = 1),
        failed = (SELECT count(*) FROM outcome WHERE batch = number AND outcome.state = 2)
    WHERE owner IS NULL OR state <> 'open'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The result of recovering a damaged journal.

    Attributes:
        aside: Path of the damaged file, which is kept.
        lost: Number of requests that could not be read, by batch id.
        unknown: Number of requests that could be read but whose batch could not.
    """

    aside: Path
    lost: Mapping[str, int] = field(default_factory=dict[str, int])
    unknown: int = 0

    def __str__(self) -> str:
        parts = [f"{count} of {name}" for name, count in self.lost.items()]
        parts += [f"{self.unknown} of batches that could not be read either"] if self.unknown else []
        lost = f" Requests that could not be read: {', '.join(parts)}." if parts else ""
        return f"The damaged file is kept as {self.aside.name}.{lost}"


def recover_journal(database: Database, identity: tuple[int, int]) -> Recovery | None:
    """Set a damaged journal aside, and replace it with a new one that has everything that can be read.

    Each table is read from both ends up to the damage, and then row by row. Rows with impossible values are
    dropped. A request that cannot be read keeps its position and is marked as lost.

    Args:
        database: The journal.
        identity: Device and inode of the damaged file; nothing is done if another process has replaced it.

    Returns:
        What was recovered; None if another process did so.

    Raises:
        DatabaseUnavailable: The file cannot be renamed, or the new one cannot be written.
    """
    name = f"{database.path.stem}.salvaged-{secrets.token_hex(8)}.sqlite3"
    saved = replace(database, schema=replace(database.schema, file=name))
    try:
        with saved.open() as connection, writing(connection):
            damaged = _Damaged(database.path)
            _copy_batch_rows(damaged, connection)
            _copy_rows(damaged, connection, "item")
            _copy_rows(damaged, connection, "outcome")
            unknown = connection.execute(
                "SELECT count(*) FROM item WHERE batch NOT IN (SELECT number FROM batch)"
            ).fetchone()[0]
            for table in ("item", "outcome"):
                connection.execute(_DELETE_ORPHANS.format(table=table))
            lost = dict(_fill_gaps(damaged, connection))
            connection.execute(_RECOUNT)
            connection.execute(_REOPEN_INCOMPLETE)
        aside = database.set_aside(identity, replacement=name)
        return None if aside is None else Recovery(aside=aside, lost=lost, unknown=unknown)
    finally:
        for leftover in (saved.path, Path(f"{saved.path}-journal")):
            with suppress(OSError):  # a scanner may hold it; it is not in the way
                retry_while_held(partial(leftover.unlink, missing_ok=True))


class _Damaged:
    """Reads a damaged file as far as possible.

    Attributes:
        most: Maximum number of requests that a file of this size can have.
        is_clean: Whether every row could be read so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.most = max(1, path.stat().st_size // 4096) * _ROWS_OF_A_PAGE
        self.is_clean = self._is_sound()

    def rows(self, table: str, wanted: Sequence[str]) -> Iterator[Sequence[Row]]:
        """Yield rows in chunks, from both ends; a file of an earlier version lacks some columns."""
        for direction in ("", " DESC"):
            by = ", ".join(f"{column}{direction}" for column in _KEYS[table])
            with suppress(*UNREADABLE), self._open() as connection:
                columns = self._columns(connection, table, wanted)
                found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {by}")  # noqa: S608 - our own names
                while some := self._next_rows(found):
                    yield [dict(zip(columns, row, strict=True)) for row in some]

    def rows_by_key(
        self, table: str, wanted: Sequence[str], keys: Iterator[tuple[int, ...]]
    ) -> Iterator[Sequence[Row]]:
        """Yield the rows with some keys one by one, which also finds those between two damaged places."""
        where = " AND ".join(f"{column} = ?" for column in _KEYS[table])
        with suppress(*UNREADABLE), self._open() as connection:
            columns = self._columns(connection, table, wanted)
            select = f"SELECT {', '.join(columns)} FROM {table} WHERE {where}"  # noqa: S608 - our own names
            for key in keys:
                with suppress(*UNREADABLE):
                    row = connection.execute(select, key).fetchone()
                    if row is not None:
                        yield [dict(zip(columns, row, strict=True))]

    def _next_rows(self, rows: sqlite3.Cursor) -> list[tuple[Any, ...]]:
        """The next rows, up to the first that cannot be read."""
        found: list[tuple[Any, ...]] = []
        try:
            while len(found) < _CHUNK_ROWS and (row := rows.fetchone()) is not None:
                found.append(row)
        except UNREADABLE:
            self.is_clean = False
        return found

    def _columns(self, connection: sqlite3.Connection, table: str, wanted: Sequence[str]) -> list[str]:
        present = set(_columns_of(connection, table))
        return [name for name in wanted if name in present]

    def _is_sound(self) -> bool:
        with suppress(*UNREADABLE), self._open() as connection:
            return connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
        return False

    @contextmanager
    def _open(self) -> "Generator[sqlite3.Connection]":
        with closing(sqlite3.connect(f"{file_uri(self._path)}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            # Otherwise SQLite refuses a file that is shorter than its header says. Nothing is written to it.
            connection.execute("PRAGMA writable_schema = ON")
            connection.text_factory = _decode
            yield connection


def _copy_batch_rows(damaged: _Damaged, connection: sqlite3.Connection) -> None:
    wanted = _columns_of(connection, "batch")
    for some in damaged.rows("batch", wanted):
        _insert(connection, "batch", [batch_row for row in some if (batch_row := _batch_row(row))])
    present = {number for (number,) in connection.execute("SELECT number FROM batch")}
    missing = (
        (number,) for number in range(1, min(max(present, default=0), _MOST_NUMBERS)) if number not in present
    )
    for some in damaged.rows_by_key("batch", wanted, missing):
        _insert(connection, "batch", [batch_row for row in some if (batch_row := _batch_row(row))])


def _copy_rows(damaged: _Damaged, connection: sqlite3.Connection, table: str) -> None:
    wanted = _columns_of(connection, table)
    for some in damaged.rows(table, wanted):
        sound = [row for row in some if _is_sound(table, row, damaged.most)]
        damaged.is_clean &= len(sound) == len(some)
        _insert(connection, table, sound)


def _fill_gaps(damaged: _Damaged, connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Look up the missing rows of each batch, mark requests that stay missing as lost, and count them."""
    batch_rows = connection.execute("SELECT number, id, recorded FROM batch").fetchall()
    for number, name, stated in batch_rows:
        recorded = _request_count(damaged, connection, number, stated)
        for table in ("item", "outcome"):
            connection.execute(f"DELETE FROM {table} WHERE batch = ? AND position >= ?", (number, recorded))  # noqa: S608 - our own names
            wanted = _columns_of(connection, table)
            missing = _missing(connection, table, number, recorded) if not damaged.is_clean else ()
            for some in damaged.rows_by_key(table, wanted, iter([(number, place) for place in missing])):
                _insert(connection, table, [row for row in some if _is_sound(table, row, damaged.most)])
        lost = _missing(connection, "item", number, recorded)
        _insert(connection, "item", [{"batch": number, "position": place, "request": LOST} for place in lost])
        connection.execute("UPDATE batch SET recorded = ? WHERE number = ?", (recorded, number))
        if lost:
            yield name, len(lost)


def _missing(connection: sqlite3.Connection, table: str, number: int, recorded: int) -> Sequence[int]:
    found = connection.execute(f"SELECT position FROM {table} WHERE batch = ?", (number,))  # noqa: S608 - our own names
    present = {place for (place,) in found}
    return [place for place in range(recorded) if place not in present]


def _request_count(damaged: _Damaged, connection: sqlite3.Connection, number: int, stated: int) -> int:
    """Number of requests of a batch: as its row says, unless the requests contradict it."""
    within, beyond, last = connection.execute(
        "SELECT count(*) FILTER (WHERE position < ?), count(*) FILTER (WHERE position >= ?), max(position)"
        " FROM item WHERE batch = ?",
        (stated, stated, number),
    ).fetchone()
    is_believed = beyond <= within and stated <= damaged.most and (within == stated or not damaged.is_clean)
    return stated if is_believed else (-1 if last is None else last) + 1


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        names, marks = ", ".join(rows[0]), ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - our own names
            [tuple(row.values()) for row in rows],
        )


def _batch_row(row: Row) -> Row | None:
    """The row of a batch with impossible values replaced; None if its id or number is unusable."""
    if not (_is_text(row.get("id")) and row["id"] and isinstance(row.get("number"), int)):
        return None
    full = {**_DEFAULTS, **row}
    if not is_batch_row({**_DEFAULTS, "id": row["id"], "number": row["number"]}):
        return None
    bad = [
        name
        for name, value in row.items()
        if name in _DEFAULTS
        and not (
            is_batch_row({**_DEFAULTS, "id": "", "number": 1, name: value})
            and _is_text(value, otherwise=True)
        )
    ]
    if set(bad) & set(_HOLDER):
        bad += _HOLDER
    return {**full, **{name: _DEFAULTS[name] for name in bad}}


def _is_sound(table: str, row: Row, most: int) -> bool:
    """Whether a row of requests or outcomes has values that this program may have written."""
    batch, position = row.get("batch"), row.get("position")
    if not (isinstance(batch, int) and isinstance(position, int) and batch > 0 and 0 <= position < most):
        return False
    if table == "item":
        return _is_text(row.get("request")) and is_request(row["request"])
    return row.get("state") in set(ItemState) and _is_text(row.get("told")) and _is_usable(row)


def _is_usable(row: Row) -> bool:
    """Whether an outcome is usable; without one, the image is looked for in the folder."""
    outcome = json_object(row["told"])
    return isinstance(outcome.get("file"), str) if row["state"] == ItemState.DONE else bool(outcome)


def _is_text(value: object, *, otherwise: bool = False) -> bool:
    """Whether a value is valid UTF-8 text without NUL, which is what is read past the end of a file.

    Args:
        value: The value of a column.
        otherwise: What to return for a value that is not text.
    """
    if not isinstance(value, str):
        return otherwise
    return "\0" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _decode(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """The names of a table's columns."""
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
