"""Define the tables of the index, and read and write its rows: one per file."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints

from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.provenance.facts import json_object
from vllm_image_core.requests.fields import PLAIN_FIELDS
from vllm_image_core.storage import full_text
from vllm_image_core.storage.database import DamagedDatabase, ImpossibleRow, Schema
from vllm_image_core.storage.record import EPOCH, Record
from vllm_image_core.storage.subfolders import name_in

T = TypeVar("T")

State = tuple[int, int]
"""A file's size in bytes, and its modification time in nanoseconds since 1970."""

_ALWAYS: Final = ("bytes", "modified_ns")
_ADDED: Final = tuple(each for each in PLAIN_FIELDS if each.indexed)
_FOURTH: Final = (
    *("lora TEXT", "flow_shift REAL", "extra_params TEXT", "guidance_scale_2 REAL"),
    *("output_compression INTEGER", "generator_device TEXT", "bot_task TEXT", "sys_type TEXT"),
    *("system_prompt TEXT", "use_system_prompt TEXT", "background TEXT"),
)
"""The columns that the fourth migration adds."""
_WRITTEN_OUT: Final = frozenset(each.partition(" ")[0] for each in _FOURTH)
_LEFT_OUT: Final = {
    "path",
    "created",
    "kept",
    "stars",
    *_ALWAYS,
    *(each.name for each in PLAIN_FIELDS if not each.indexed),
}
_FACTS: Final = tuple(each.name for each in fields(Record) if each.name not in _LEFT_OUT)
_COLUMNS: Final = ("name", *_ALWAYS, "created", *_FACTS)
_TYPES: Final = {name: (*get_args(hint), hint)[0] for name, hint in get_type_hints(Record).items()}
_SQL_TYPES: Final = {int: "INTEGER", bool: "INTEGER", float: "REAL"}
_MOST_SECONDS: Final = 2**37
"""Seconds since 1970 that a `datetime` can represent."""
SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM picture"  # noqa: S608 - names of columns
_INSERT: Final = f"INSERT INTO picture ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - likewise
_INSERT_NO_PICTURE: Final = "INSERT INTO picture (name, bytes, modified_ns, created) VALUES (?, ?, ?, 0)"
_NAMES_AT_ONCE: Final = 500
"""Older versions of SQLite accept 999 values in one statement."""
_INDEXES: Final = """
    SELECT list.name, info.name, facts.type FROM pragma_index_list('picture') AS list
    JOIN pragma_index_info(list.name) AS info ON info.seqno = 0
    JOIN pragma_table_info('picture') AS facts ON facts.name = info.name
    WHERE NOT list.partial
"""
_COUNT: Final = "SELECT count(*) FROM picture NOT INDEXED"
_COUNT_IN: Final = """
    SELECT (SELECT count(*) FROM picture INDEXED BY "{name}" WHERE {column} IS NULL)
         + (SELECT count(*) FROM picture INDEXED BY "{name}" WHERE {column} >= {least})
"""
"""Without a condition on the first column, SQLite would count in another b-tree."""
_COUNT_SHOWN: Final = "SELECT count(*) FROM picture {source} WHERE width IS NOT NULL"
_LAST_ID: Final = "SELECT coalesce(max(id), 0) FROM picture"
_STATES_BETWEEN: Final = (
    "SELECT id, name, bytes, modified_ns FROM picture WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
)


def enter(connection: sqlite3.Connection, root: Path, records: Sequence[Record], *, fts: bool) -> None:
    """Enter some images, the last of each name, replacing any entries; must run within a transaction."""
    latest = {name_in(root, record.path): record for record in records}
    forget(connection, [*latest], fts=fts)
    connection.executemany(_INSERT, [_row(name, record) for name, record in latest.items()])


def enter_no_pictures(connection: sqlite3.Connection, files: Iterable[tuple[str, int, int]]) -> None:
    """Enter files that are not images, by name, size and time, so that they are not read again."""
    connection.executemany(_INSERT_NO_PICTURE, files)


def forget(connection: sqlite3.Connection, names: Sequence[str], *, fts: bool) -> None:
    """Remove some files from the index; must run within a transaction."""
    for some in chunks(names, _NAMES_AT_ONCE):
        if fts:
            full_text.forget(connection, some)
        marks = ", ".join("?" * len(some))
        connection.execute(f"DELETE FROM picture WHERE name IN ({marks})", some)  # noqa: S608 - marks only


def _row(name: str, record: Record) -> tuple[object, ...]:
    return (
        name,
        record.bytes,
        record.modified_ns,
        (record.created - EPOCH) // timedelta(seconds=1),
        *(_as_cell(getattr(record, column)) for column in _FACTS),
    )


def _as_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=True) if isinstance(value, Mapping) else value


def record_of(root: Path, row: tuple[Any, ...]) -> Record:
    """Build the record of an image in a folder from a row of `SELECT`.

    A row with values that we never write means that the file is damaged.
    """
    values = dict(zip(_COLUMNS, row, strict=True))
    if not all(_is_possible(column, value) for column, value in values.items()):
        raise ImpossibleRow("an image has impossible values")
    for each in _ADDED:
        if each.kind in _RESTORED and values[each.name] is not None:
            values[each.name] = _RESTORED[each.kind](values[each.name])
    name, created = values.pop("name"), values.pop("created")
    return Record(path=root / name, created=EPOCH + timedelta(seconds=created), **values)


_RESTORED: Final[Mapping[str, Callable[[Any], object]]] = {"boolean": bool, "object": json_object}


def _is_possible(column: str, value: object) -> bool:
    if column == "name":
        return isinstance(value, str) and _is_plain(value)
    if column == "created":
        return isinstance(value, int) and abs(value) < _MOST_SECONDS
    if column in _ALWAYS:
        return isinstance(value, int)
    if value is None:
        return True
    kind = _TYPES[column]
    return isinstance(value, (int, float) if kind is float else int if kind in _SQL_TYPES else str)


def _is_plain(name: str) -> bool:
    """Return whether a name is that of a file in the folder or in a subfolder."""
    return "\0" not in name and {"", ".", ".."}.isdisjoint(name.split("/"))


def read_states(connection: sqlite3.Connection) -> dict[str, State]:
    """Return the state of each file in the index, by name."""
    rows = connection.execute("SELECT name, bytes, modified_ns FROM picture")
    return {name: (size, modified_ns) for name, size, modified_ns in rows}


def states_between(
    connection: sqlite3.Connection, after: int, until: int, *, limit: int
) -> tuple[int, dict[str, State]]:
    """Return the states of some files in the index, in order of id, and the id of the last one."""
    rows = connection.execute(_STATES_BETWEEN, (after, until, limit)).fetchall()
    return rows[-1][0] if rows else until, {name: (size, ns) for _, name, size, ns in rows}


def counts_agree(connection: sqlite3.Connection) -> bool:
    """Return whether each b-tree over all images has as many entries as the table."""
    counts = {connection.execute(_COUNT).fetchone()[0]}
    for name, column, kind in connection.execute(_INDEXES).fetchall():
        least = "''" if kind == "TEXT" else "-9e999"
        counts.add(connection.execute(_COUNT_IN.format(name=name, column=column, least=least)).fetchone()[0])
    shown = {
        connection.execute(_COUNT_SHOWN.format(source=source)).fetchone()[0]
        for source in ("NOT INDEXED", "INDEXED BY picture_created")
    }
    return len(counts) == len(shown) == 1


def last_id(connection: sqlite3.Connection) -> int:
    """Return the highest id in the index; an id is never used twice."""
    return int(connection.execute(_LAST_ID).fetchone()[0])


def chunks(items: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """Split the items into chunks of a given length, in order."""
    return (items[start : start + length] for start in range(0, len(items), length))


def _sql_type(column: str) -> str:
    return _SQL_TYPES.get(_TYPES[column], "TEXT")


class DamagedIndex(DamagedDatabase, IndexUnavailable):
    """The index is no longer a valid SQLite database; it is rebuilt from the images."""


_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE picture (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            bytes INTEGER NOT NULL,
            modified_ns INTEGER NOT NULL,
            created INTEGER NOT NULL,
            width INTEGER,
            height INTEGER,
            key TEXT,
            prompt TEXT,
            negative_prompt TEXT,
            model TEXT,
            seed INTEGER,
            num_inference_steps INTEGER,
            guidance_scale REAL,
            seconds REAL,
            batch TEXT,
            tag TEXT
        )
        """,
        "CREATE INDEX picture_created ON picture (created, id) WHERE width IS NOT NULL",
        "CREATE INDEX picture_key ON picture (key)",
        "CREATE INDEX picture_model ON picture (model, created)",
        "CREATE INDEX picture_seed ON picture (seed)",
        "CREATE INDEX picture_size ON picture (width, height, created)",
        "CREATE INDEX picture_batch ON picture (batch, created)",
        "CREATE INDEX picture_tag ON picture (tag, created)",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER)",
    ),
    (
        "ALTER TABLE picture ADD COLUMN position INTEGER",
        "CREATE INDEX picture_position ON picture (batch, position) WHERE position IS NOT NULL",
    ),
    (
        "ALTER TABLE picture ADD COLUMN operation TEXT",
        # Files whose modification time differs from the one entered here are read again.
        "UPDATE picture SET modified_ns = 0",
    ),
    tuple(f"ALTER TABLE picture ADD COLUMN {column}" for column in _FOURTH),
    # One for each further plain field, in the order of the table. Before another migration follows, write
    # these out above.
    *(
        (f"ALTER TABLE picture ADD COLUMN {each.name} {_sql_type(each.name)}",)
        for each in _ADDED
        if each.name not in _WRITTEN_OUT
    ),
)
"""`width` is NULL for a file that is not an image, `created` is in seconds since 1970, `modified_ns` in
nanoseconds. An `id` is never used twice. `position` is the image's place in its batch, from 0. `operation`
is "edit", or NULL for an image that was generated from text.
"""

INDEX: Final = Schema(
    file="index.sqlite3",
    name="index",
    tables=("picture", "state"),
    migrations=_MIGRATIONS,
    unavailable=IndexUnavailable,
    damaged=DamagedIndex,
    cache_kib=32_768,  # the pages that 5,000 new images change
)
"""The index of a folder: built from the image files, and rebuilt if it is lost."""
