"""Measurements: store how long images took on each server, so that later processes can learn from them.

They are few and small and only used for estimates, so a file that cannot be used is not an error. Several
processes may write to it at the same time, and each learns from the images of the others.
"""

import logging
import math
import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.estimation.cost_model import WINDOW
from vllm_image_core.estimation.work import Work
from vllm_image_core.requests.image_request import Task
from vllm_image_core.storage.database import DamagedDatabase, Database, Schema, writing

_logger = logging.getLogger(__name__)

_MIGRATIONS: Final = (
    (
        """
        CREATE TABLE measurement (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            writer TEXT NOT NULL,
            server TEXT NOT NULL,
            model TEXT NOT NULL,
            version TEXT NOT NULL,
            megapixels REAL NOT NULL,
            forwards INTEGER NOT NULL,
            seconds REAL NOT NULL,
            peak_mib REAL,
            first INTEGER NOT NULL
        )
        """,
        "CREATE INDEX measurement_origin ON measurement (server, model, version, id)",
    ),
    (
        "ALTER TABLE measurement ADD COLUMN task TEXT NOT NULL DEFAULT 'generation'",
        "DROP INDEX measurement_origin",
        "CREATE INDEX measurement_origin ON measurement (server, model, version, task, id)",
    ),
)

MEASUREMENTS: Final = Schema(
    file="measurements.sqlite3",
    name="file of measurements",
    tables=("measurement",),
    migrations=_MIGRATIONS,
    unavailable=DatabaseUnavailable,
    damaged=DamagedDatabase,
    cache_kib=2_048,  # more than the whole file
)
"""The measurements of a folder; created again, empty, if the file is lost."""

_MOST_ROWS: Final = 100 * WINDOW
"""Maximum rows for all servers, models and versions together: about 1 MB."""

_MOST_CHARACTERS: Final = 1_000

_OF: Final = "server = ? AND model = ? AND version = ? AND task = ?"
_SELECT: Final = (
    "SELECT id, megapixels, forwards, seconds, peak_mib, first FROM measurement "  # noqa: S608 - constants
    f"WHERE {_OF} AND id > ? AND writer != ? ORDER BY id DESC LIMIT {WINDOW}"
)
_INSERT: Final = (
    "INSERT INTO measurement "
    "(writer, server, model, version, task, megapixels, forwards, seconds, peak_mib, first) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FORGET_OLD: Final = (
    f"DELETE FROM measurement WHERE {_OF} AND id <= (SELECT id FROM measurement "  # noqa: S608 - constants
    f"WHERE {_OF} ORDER BY id DESC LIMIT 1 OFFSET {WINDOW})"
)
_FORGET_OTHERS: Final = (
    "DELETE FROM measurement WHERE id <= "  # noqa: S608 - constants
    f"(SELECT id FROM measurement ORDER BY id DESC LIMIT 1 OFFSET {_MOST_ROWS})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where and how images were generated; their time depends on all of these together.

    `version` is "" if the server does not report one.
    """

    server: str
    model: str
    version: str = ""
    task: Task = "generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The measured time and memory of one image.

    `seconds` is the service time; `first` is the first image since the server or the process started.
    """

    work: Work
    seconds: float
    peak_mib: float | None = None
    first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMeasurements:
    """Measurements that were read, oldest first, and the id of the last row."""

    measurements: tuple[Measurement, ...] = ()
    read_to: int = 0


class Measurements:
    """The measurements of one folder; safe to use from many threads and processes, which wait for each other.

    Its methods block on disk I/O. They never raise: measurements that cannot be read or written are ignored,
    with one line in the log.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._database = Database(root, MEASUREMENTS)
        self._writer = secrets.token_hex(8)
        self._warned = False

    def read(self, origin: Origin, *, after: int = 0) -> NewMeasurements:
        """Read the last measurements of a server that other processes have written, at most 128.

        `after` is the id of the last row that was read before.
        """
        if not os.path.exists(self._database.path):  # noqa: PTH110 - a Path raises where it may not look
            return NewMeasurements(read_to=after)
        return self._run_with_repair(
            lambda connection: self._read(connection, origin, after), NewMeasurements(read_to=after)
        )

    def add(self, origin: Origin, *own: Measurement, after: int = 0) -> NewMeasurements:
        """Write measurements, and read what other processes have written since; see `read`."""
        if not os.path.isdir(self._root):  # noqa: PTH112 - likewise
            return NewMeasurements(read_to=after)

        def change(connection: sqlite3.Connection) -> NewMeasurements:
            with writing(connection):
                news = self._read(connection, origin, after)
                read_to = self._insert(connection, origin, own)
            return NewMeasurements(measurements=news.measurements, read_to=read_to)

        return self._run_with_repair(change, NewMeasurements(read_to=after))

    def _read(self, connection: sqlite3.Connection, origin: Origin, after: int) -> NewMeasurements:
        rows = connection.execute(_SELECT, (*_texts(origin), after, self._writer)).fetchall()
        found = (_measurement(row[1:], origin.task) for row in reversed(rows))
        return NewMeasurements(
            measurements=tuple(measurement for measurement in found if measurement is not None),
            read_to=max([after, *(int(row[0]) for row in rows)]),
        )

    def _insert(self, connection: sqlite3.Connection, origin: Origin, own: Sequence[Measurement]) -> int:
        texts, row = _texts(origin), None
        for new in own:
            numbers = (new.work.megapixels, new.work.forwards, new.seconds, new.peak_mib, int(new.first))
            row = connection.execute(_INSERT, (self._writer, *texts, *numbers)).lastrowid
        connection.execute(_FORGET_OLD, (*texts, *texts))
        connection.execute(_FORGET_OTHERS)
        return row or 0

    def _run_with_repair(
        self, use: Callable[[sqlite3.Connection], NewMeasurements], otherwise: NewMeasurements
    ) -> NewMeasurements:
        """Use the file; if it is damaged, set it aside and try once more."""

        def set_aside(damage: DamagedDatabase) -> None:
            self._warn_once(damage)
            self._database.set_aside(damage.identity)

        try:
            return self._database.run(use, repair=set_aside)
        except DatabaseUnavailable as error:
            self._warn_once(error)
            return otherwise

    def _warn_once(self, error: DatabaseUnavailable) -> None:
        if not self._warned:
            _logger.warning("Cannot use saved measurements for estimates: %s", error.message)
        self._warned = True


def _measurement(row: Sequence[object], task: Task) -> Measurement | None:
    """Read a row, which other programs may have written; None if it is not a valid measurement."""
    match row:
        case [float(megapixels), int(forwards), float(seconds), float() | None as peak, int(first)]:
            numbers = (megapixels, float(forwards), seconds, 1.0 if peak is None else peak)
            if all(math.isfinite(number) and number > 0 for number in numbers):
                work = Work(megapixels=megapixels, forwards=forwards, task=task)
                return Measurement(work=work, seconds=seconds, peak_mib=peak, first=bool(first))
            return None
        case _:
            return None


def _texts(origin: Origin) -> tuple[str, str, str, str]:
    """The text columns of an origin; a server's names may be too long or invalid Unicode."""
    server, model, version = (
        text.encode(errors="replace").decode()[:_MOST_CHARACTERS]
        for text in (origin.server, origin.model, origin.version)
    )
    return server, model, version, origin.task
