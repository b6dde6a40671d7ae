"""Row parts: write each row once to a Parquet file in the store, and find out which images are finished."""

import io
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable
from importlib import import_module
from typing import Any, Final

from vllm_image_core.datasets.image_row import ImageRow, pyarrow, rows_of_table, table_of_rows
from vllm_image_core.datasets.job_id import ID_BYTES, JobId
from vllm_image_core.datasets.object_store import ObjectStore

_ROWS: Final = "rows"
_FAILURES: Final = "failures"
_SUFFIX: Final = ".parquet"

_MOST_ROWS: Final = 10_000
"""Rows of one file."""

_SECONDS: Final = 30.0
"""How long a row may wait to be written with others; its image is in the store meanwhile."""

_SHARE: Final = 1_000
"""In a long run, rows wait for this part of its time, so that a year of slow rows is 8,000 files."""


class FinishedIds:
    """The ids of the images that have a row, in 16 bytes each.

    Args:
        ids: The ids, in any order.
    """

    def __init__(self, ids: Iterable[JobId] = ()) -> None:
        self._sorted = b"".join(sorted(set(ids)))
        self._count = len(self._sorted) // ID_BYTES
        self._added: set[bytes] = set()

    def __len__(self) -> int:
        return self._count + len(self._added)

    def __contains__(self, job: JobId) -> bool:
        if job in self._added:
            return True
        place = bisect_left(range(self._count), job, key=self._at)
        return place < self._count and self._at(place) == job

    def add(self, job: JobId) -> bool:
        """Add an id; return whether it was new."""
        if job in self:
            return False
        self._added.add(job)
        return True

    def _at(self, place: int) -> bytes:
        return self._sorted[place * ID_BYTES : (place + 1) * ID_BYTES]


class RowParts:
    """The Parquet files of one run, in which each finished image has one row.

    Failed rows go into a separate file, which the next run ignores, so that it tries them again.

    Args:
        store: The store.
        run: The run's id, which begins the names of its files.
        finished: The images that have a row; kept up to date.
        timer: Returns seconds on a clock that never goes back.
        most_rows: Rows of one file.
    """

    def __init__(
        self,
        store: ObjectStore,
        run: str,
        finished: FinishedIds,
        *,
        timer: Callable[[], float] = time.monotonic,
        most_rows: int = _MOST_ROWS,
    ) -> None:
        self._store = store
        self._run = run
        self._finished = finished
        self._timer = timer
        self._most = most_rows
        self._waiting: list[ImageRow] = []
        self._failed: list[ImageRow] = []
        self._parts = self._failed_parts = 0
        self._began = self._since = timer()

    async def add(self, row: ImageRow) -> bool:
        """Add a row, and write the waiting rows if there are many or they have waited long.

        Returns:
            Whether it is new; False for another row of an image that has one.

        Raises:
            CannotSave: The store did not take them; their images are in it.
        """
        if row.status == "failed" or row.job_id is None:
            self._failed.append(row)
        elif self._finished.add(row.job_id):
            self._waiting.append(row)
        else:
            return False
        full = max(len(self._waiting), len(self._failed)) >= self._most
        if full or self._waits_long():
            await self.flush()
        return True

    def _waits_long(self) -> bool:
        now = self._timer()
        return now - self._since >= max(_SECONDS, (now - self._began) / _SHARE)

    async def flush(self) -> None:
        """Write the rows that wait; raises what `add` raises."""
        self._since = self._timer()
        if self._waiting:
            await self._write(_ROWS, self._parts, self._waiting)
            self._waiting, self._parts = [], self._parts + 1
        if self._failed:
            await self._write(_FAILURES, self._failed_parts, self._failed)
            self._failed, self._failed_parts = [], self._failed_parts + 1

    async def _write(self, folder: str, part: int, rows: list[ImageRow]) -> None:
        file = io.BytesIO()
        _parquet().write_table(table_of_rows(rows), file)
        await self._store.create(f"{folder}/{self._run}-{part:05}{_SUFFIX}", file.getvalue())


async def read_finished(store: ObjectStore) -> FinishedIds:
    """Read the ids of all images that have a row in the store."""
    ids: list[JobId] = []
    async for table in _tables(store, columns=["job_id"]):
        ids += table.column("job_id").to_pylist()
    return FinishedIds(ids)


async def read_rows(store: ObjectStore) -> list[ImageRow]:
    """Read the rows of all finished images in the order of their ids, each image once."""
    found: dict[JobId | None, ImageRow] = {}
    async for table in _tables(store):
        for row in rows_of_table(table):
            found.setdefault(row.job_id, row)
    return sorted(found.values(), key=lambda row: row.job_id or b"")


async def _tables(store: ObjectStore, columns: list[str] | None = None) -> AsyncIterator[Any]:
    async for name in store.names(_ROWS):
        data = await store.read(name) if name.endswith(_SUFFIX) else None
        if data is not None:
            yield _parquet().read_table(io.BytesIO(data), columns=columns)


def _parquet() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    pyarrow()
    return import_module("pyarrow.parquet")
