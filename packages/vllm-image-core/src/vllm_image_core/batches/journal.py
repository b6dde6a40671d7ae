"""Batch journal: open, read, write and repair the file that records all batches of a folder."""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

from vllm_image_core.batches.batch_row import BatchRow
from vllm_image_core.batches.items import State
from vllm_image_core.batches.queries import JOURNAL, JournalQueries
from vllm_image_core.batches.recovery import recover_journal
from vllm_image_core.batches.stored_items import BatchItem, ItemState, is_complete
from vllm_image_core.batches.summary import BatchState, BatchSummary, FoundBatch, ItemReport
from vllm_image_core.errors import JournalUnavailable, UnknownBatch
from vllm_image_core.storage.database import DamagedDatabase, Database, writing
from vllm_image_core.storage.folder import Folder, exists
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.owner import is_dead, this_process
from vllm_image_core.storage.processes import is_same_start
from vllm_image_core.storage.record import EPOCH
from vllm_image_core.storage.verdicts import current_path
from vllm_image_core.text import one_line

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_SILENT_SECONDS: Final = 60
"""How old the heartbeat of an owner on another machine may be, by the clocks of both machines."""

_ENDS: Final[dict[str, BatchState]] = {
    "done": "done",
    "partial": "partial",
    "failed": "failed",
    "cancelled": "cancelled",
    "stopped": "stopped",
}


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one folder; safe to use from many threads and processes, which wait for each other.

    Its methods block on disk I/O, so call them in a thread if an event loop is running. All of them raise
    `JournalUnavailable` if the file cannot be read or written.

    Attributes:
        root: The output folder, absolute.
    """

    root: Path

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Database(self.root, JOURNAL).path

    def exists(self) -> bool:
        """Whether there is a journal; does not create one."""
        return Database(self.root, JOURNAL).exists()

    @contextmanager
    def open(self) -> Generator[JournalQueries]:
        """Open a connection for use in this thread."""
        with self._folder_errors(), Database(self.root, JOURNAL).open() as connection:
            yield JournalQueries(connection, self.root)

    @contextmanager
    def _folder_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:  # the folder was removed meanwhile
            raise JournalUnavailable(
                f"The journal of batches {one_line(str(self.path), limit=300)} cannot be used: "
                f"{reason_of(error)}.",
                next_step=next_step_after(error, otherwise=JournalUnavailable.usual_next_step),
            ) from error

    def write(self, work: Callable[[JournalQueries], T]) -> T:
        """Call a function in one transaction, and return its result."""
        return self.read(lambda queries: _as_one(queries, work))

    def read(self, work: Callable[[JournalQueries], T]) -> T:
        """Call a function that only reads, and return its result."""
        with self._folder_errors():
            return Database(self.root, JOURNAL).run(
                lambda connection: work(JournalQueries(connection, self.root)), repair=self.repair
            )

    def batches(self, limit: int) -> tuple[BatchSummary, ...]:
        """The newest batches, newest first; does not create a journal."""
        if not self.exists():
            return ()
        return tuple(
            _summary(batch_row) for batch_row in self.read(lambda queries: queries.batch_rows(limit))
        )

    def ids_starting_with(self, start: str, limit: int) -> tuple[str, ...]:
        """The ids of the newest batches that start with a string; does not create a journal."""
        if not self.exists():
            return ()
        return self.read(lambda queries: queries.ids_starting_with(start, limit))

    def read_batch(self, batch_id: str, *, offset: int, limit: int) -> FoundBatch:
        """Read a batch with some of its requests.

        Raises:
            UnknownBatch: No batch in this folder has that id.
        """

        def look(queries: JournalQueries) -> tuple[BatchRow | None, list[BatchItem]]:
            batch_row = queries.batch_row(batch_id)
            if batch_row is None:
                return None, []
            return batch_row, queries.items_after(batch_row.number, offset - 1, limit + 1)

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
        """Read the row of a batch.

        Raises:
            UnknownBatch: No batch in this folder has that id.
        """
        batch_row = self.read(lambda queries: queries.batch_row(batch_id)) if self.exists() else None
        if batch_row is None:
            raise self._unknown(batch_id)
        return batch_row

    def check(self, batch_id: str) -> None:
        """Check the file for damage and the batch for missing requests, and repair the file if needed.

        Reading alone does not notice all damage: a page that was replaced by another one hides rows.

        Raises:
            UnknownBatch: No batch in this folder has that id, or it was lost in the repair.
        """
        number = self.batch_row(batch_id).number
        try:
            with self.open() as queries:
                queries.check(number)
        except DamagedDatabase as error:
            self.repair(error)
            self.batch_row(batch_id)

    def owns(self, number: int, token: str) -> bool:
        """Whether the current file has this batch, and it still belongs to the owner with this token."""
        try:
            with self.open() as queries:
                return queries.is_held(number, token)
        except JournalUnavailable:
            return False

    def repair(self, damage: DamagedDatabase) -> None:
        """Set the damaged file aside, and continue with what can still be read of it."""
        _logger.warning("%s It was set aside, and what can still be read of it is recovered.", damage.message)
        recovery = recover_journal(Database(self.root, JOURNAL), damage.identity)
        if recovery is not None:
            _logger.warning("%s", recovery)

    def restore(self, queries: JournalQueries, *, device: int | None) -> bool:
        """Write the file again from an open connection, if its folder was deleted and created again.

        A folder on another device was not created again; its disk was unmounted. Returns whether the file was
        written.
        """
        try:
            if self.root.stat().st_dev != device or exists(self.path):
                return False
            with Folder.open(self.path.parent) as folder, folder.temporary(queries.copy()) as copy:
                return folder.place(copy, self.path.name)
        except OSError:  # it is gone again
            return False

    def _unknown(self, batch_id: str) -> UnknownBatch:
        error = UnknownBatch(f"Batch '{one_line(batch_id)}' is not known here.")
        if aside := sorted(self.path.parent.glob(f"{self.path.stem}.damaged-*.sqlite3")):
            error.add_note(
                "The journal of batches was damaged and could only be read in part; the damaged file is "
                f"kept as {one_line(str(aside[-1]), limit=300)}."
            )
        return error


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
    is_ours = (other.pid_namespace, other.host, other.pid) == (me.pid_namespace, me.host, me.pid)
    if is_ours and is_same_start(other.started, me.started):
        return "here"
    # This compares the clocks of two machines, so it is for display only; a takeover watches the heartbeat.
    return "elsewhere" if time.time() - batch_row.beat_at < _SILENT_SECONDS else None


def _state_of_unended(owner: str | None, cause: str | None) -> BatchState:
    if owner is None:
        return "interrupted"
    return "paused" if cause else "running"


def _report(item: BatchItem, batch_row: BatchRow, root: Path) -> ItemReport:
    outcome = item.outcome
    states: dict[ItemState, State] = {
        ItemState.WAITING: "cancelled" if batch_row.state == "cancelled" else "waiting",
        ItemState.DONE: "done",
        ItemState.FAILED: "failed",
    }
    file, seconds = outcome.get("file"), outcome.get("seconds")
    return ItemReport(
        position=item.position,
        state=states[item.state],
        prompt=item.request.prompt,
        seed=item.request.seed,
        path=current_path(root, file) if isinstance(file, str) else None,
        seconds=seconds if isinstance(seconds, (int, float)) else None,
        reused=outcome.get("reused") is True,
        server=_text(outcome.get("server")),
        error=_text(outcome.get("error")),
        kind=_text(outcome.get("kind")),
        next_step=_text(outcome.get("next_step")),
        operation="edit" if item.request.task == "edit" else None,
    )


def _is_gone(item: BatchItem, root: Path) -> bool:
    """Whether nothing is known of a request: it is lost and has no image."""
    return item.lost and item.state != ItemState.FAILED and not is_complete(item.outcome, root)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
