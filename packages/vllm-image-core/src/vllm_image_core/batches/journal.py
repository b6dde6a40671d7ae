"""The journal of a folder's batches: recorded before anything is sent, read by any process on that folder."""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

from vllm_image_core.batches.queries import JOURNAL, BatchRow, JournalQueries
from vllm_image_core.batches.recovery import recover_journal
from vllm_image_core.batches.stored_items import BatchItem, ItemState, is_whole
from vllm_image_core.batches.summary import BatchState, BatchSummary, FoundBatch, ItemReport
from vllm_image_core.batches.worker_pool import State
from vllm_image_core.errors import JournalUnavailable, UnknownBatch
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.storage.database import DamagedDatabase, Database, writing
from vllm_image_core.storage.folder import Folder, is_there
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.owner import is_dead, this_process
from vllm_image_core.storage.record import EPOCH
from vllm_image_core.text import one_line

__all__ = ["Journal"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_SILENT_SECONDS: Final = 60
"""How long ago, by the clocks of both machines, an owner elsewhere may have shown that it lives."""

_ENDS: Final[dict[str, BatchState]] = {
    "done": "done",
    "partial": "partial",
    "failed": "failed",
    "cancelled": "cancelled",
    "stopped": "stopped",
}


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one folder; safe in many threads and processes, which wait for each other.

    Its methods wait for the disk: call them from a thread where an event loop runs. All of them raise
    `JournalUnavailable` where the file cannot be read or written.

    Attributes:
        root: The folder of the pictures, absolute.
    """

    root: Path

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Database(self.root, JOURNAL).path

    def exists(self) -> bool:
        """Whether there is a journal: nothing is made by asking."""
        return Database(self.root, JOURNAL).exists()

    @contextmanager
    def open(self) -> Generator[JournalQueries]:
        """A ledger for this thread and this piece of work."""
        database = Database(self.root, JOURNAL)
        try:
            with database.open() as connection:
                yield JournalQueries(connection, self.root)
        except OSError as error:  # the folder was removed meanwhile
            raise JournalUnavailable(
                f"The journal of batches {one_line(str(self.path), limit=300)} cannot be used: "
                f"{reason_of(error)}.",
                next_step=next_step_after(error, otherwise=JournalUnavailable.usual_next_step),
            ) from error

    def write(self, work: Callable[[JournalQueries], T]) -> T:
        """Do some work as one transaction."""
        return self._run_with_repair(lambda queries: _as_one(queries, work))

    def read(self, work: Callable[[JournalQueries], T]) -> T:
        """Do some work that changes nothing."""
        return self._run_with_repair(work)

    def batches(self, limit: int) -> tuple[BatchSummary, ...]:
        """The newest batches, newest first; nothing is made in a folder that has had none."""
        if not self.exists():
            return ()
        return tuple(
            _summary(batch_row) for batch_row in self.read(lambda queries: queries.batch_rows(limit))
        )

    def read_batch(self, batch_id: str, *, offset: int, limit: int) -> FoundBatch:
        """A batch with some of its requests.

        Raises:
            UnknownBatch: No batch of this folder has that id.
        """

        def look(queries: JournalQueries) -> tuple[BatchRow | None, list[BatchItem]]:
            batch_row = queries.batch_row(batch_id)
            return batch_row, queries.take(batch_row.number, offset - 1, limit + 1) if batch_row else []

        batch_row, items = self.read(look) if self.exists() else (None, [])
        if batch_row is None:
            raise self._unknown(batch_id)
        summary = _summary(batch_row)
        return FoundBatch(
            **{name: getattr(summary, name) for name in BatchSummary.__dataclass_fields__},
            items=tuple(
                _report(item, batch_row, self.root) for item in items[:limit] if not _is_gone(item, self.root)
            ),
            next_offset=offset + limit if len(items) > limit else None,
        )

    def batch_row(self, batch_id: str) -> BatchRow:
        """A batch by its id.

        Raises:
            UnknownBatch: No batch of this folder has that id.
        """
        batch_row = self.read(lambda queries: queries.batch_row(batch_id)) if self.exists() else None
        if batch_row is None:
            raise self._unknown(batch_id)
        return batch_row

    def check(self, batch_id: str) -> None:
        """Look through the file for damage, and whether all requests of a batch are there; repair it if not.

        Reading alone does not notice all damage: a page that was exchanged for another one hides rows.

        Raises:
            UnknownBatch: No batch of this folder has that id, or not any more.
        """
        number = self.batch_row(batch_id).number
        try:
            with self.open() as queries:
                queries.check(number)
        except DamagedDatabase as error:
            self.repair(error)
            self.batch_row(batch_id)

    def owns(self, number: int, token: str) -> bool:
        """Whether the file that is there now has a batch that still belongs to an owner."""
        try:
            with self.open() as queries:
                return queries.is_held(number, token)
        except JournalUnavailable:
            return False

    def repair(self, damage: DamagedDatabase) -> None:
        """Set the damaged file aside, and go on with what can still be read of it."""
        _logger.warning("%s It is set aside, and what can still be read of it is kept.", damage.message)
        recovery = recover_journal(Database(self.root, JOURNAL), damage.identity)
        if recovery is not None:
            _logger.warning("%s", recovery)

    def restore(self, queries: JournalQueries, *, device: int | None) -> bool:
        """Write the file anew from a ledger that is still open, where its folder was removed and made anew.

        A folder on another disk was not made anew: there a disk was taken out. Whether it was written.
        """
        try:
            if self.root.stat().st_dev != device or is_there(self.path):
                return False
            with Folder.open(self.path.parent) as folder, folder.temporary(queries.copy()) as copy:
                return folder.place(copy, self.path.name)
        except OSError:  # it is gone again
            return False

    def _unknown(self, batch_id: str) -> UnknownBatch:
        error = UnknownBatch(f"Batch '{one_line(batch_id)}' is not known here.")
        if aside := sorted(self.path.parent.glob(f"{self.path.stem}.damaged-*.sqlite3")):
            error.add_note(
                "The journal of batches was damaged, and not all of it could be read: it is kept as "
                f"{one_line(str(aside[-1]), limit=300)}."
            )
        return error

    def _run_with_repair(self, work: Callable[[JournalQueries], T]) -> T:
        """Do some work; where the file turns out to be damaged, with what can still be read of it."""
        try:
            with self.open() as queries:
                return work(queries)
        except DamagedDatabase as error:
            self.repair(error)
            with self.open() as queries:
                return work(queries)


def _as_one(queries: JournalQueries, work: Callable[[JournalQueries], T]) -> T:
    with writing(queries.connection):
        return work(queries)


def _summary(batch_row: BatchRow) -> BatchSummary:
    counts, owner = batch_row.counts, _owner(batch_row)
    ended = counts.done + counts.failed
    running = counts.running if owner else 0
    left = max(0, batch_row.recorded - ended - running)
    cancelled = left if batch_row.state == "cancelled" else 0
    return BatchSummary(
        id=batch_row.id,
        state=_ENDS.get(batch_row.state) or _state_of_unended(owner, counts.cause),
        created=EPOCH + timedelta(seconds=batch_row.created),
        prompt=batch_row.prompt,
        total=batch_row.recorded if batch_row.complete or owner is None else None,
        recorded=batch_row.recorded,
        waiting=left - cancelled,
        running=running,
        done=counts.done,
        failed=counts.failed,
        cancelled=cancelled,
        reused=counts.reused,
        left_running=counts.left_running,
        seconds=counts.seconds,
        cause=counts.cause,
        owner=owner,
        host=batch_row.host,
        pid=batch_row.pid,
    )


def _owner(batch_row: BatchRow) -> Literal["here", "elsewhere"] | None:
    if batch_row.holder is None or is_dead(batch_row.holder.owner):
        return None
    me, other = this_process(""), batch_row.holder.owner
    if other.place == me.place and (other.host, other.pid, other.born) == (me.host, me.pid, me.born):
        return "here"
    # By the clocks of two machines, and only to tell it: who takes a batch over looks at its counter.
    return "elsewhere" if time.time() - batch_row.beat_at < _SILENT_SECONDS else None


def _state_of_unended(owner: str | None, cause: str | None) -> BatchState:
    if owner is None:
        return "interrupted"
    return "paused" if cause else "running"


def _report(item: BatchItem, batch_row: BatchRow, root: Path) -> ItemReport:
    told = item.told
    states: dict[ItemState, State] = {
        ItemState.WAITING: "cancelled" if batch_row.state == "cancelled" else "waiting",
        ItemState.DONE: "done",
        ItemState.FAILED: "failed",
    }
    file, seconds = told.get("file"), told.get("seconds")
    return ItemReport(
        position=item.position,
        state=states[item.state],
        prompt=item.request.prompt,
        seed=item.request.seed,
        path=root / file if isinstance(file, str) else None,
        seconds=seconds if isinstance(seconds, (int, float)) else None,
        reused=told.get("reused") is True,
        server=_text(told.get("server")),
        error=_text(told.get("error")),
        kind=_text(told.get("kind")),
        next_step=_text(told.get("next_step")),
        operation="edit" if isinstance(item.request, EditRequest) else None,
    )


def _is_gone(item: BatchItem, root: Path) -> bool:
    """Whether nothing can be told of a request: it is lost, and no picture of it is known."""
    return item.lost and item.state != ItemState.FAILED and not is_whole(item.told, root)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
