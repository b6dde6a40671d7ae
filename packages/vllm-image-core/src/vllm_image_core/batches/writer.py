"""Write outcomes to the journal from one thread, many rows per commit, and keep the batch's lease alive."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from vllm_image_core.batches.batch_row import Counts
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JournalQueries, LeaseLost, OutcomeRow
from vllm_image_core.batches.stored_items import ItemState
from vllm_image_core.errors import DatabaseUnavailable, JournalUnavailable, LimitReached
from vllm_image_core.storage.database import DamagedDatabase, writing
from vllm_image_core.storage.owner import HEARTBEAT_SECONDS

T = TypeVar("T")

_LINGER_SECONDS: Final = 0.25
"""How long to collect outcomes before a commit. An image whose outcome is lost is found by its own file."""

_TRY_AGAIN_SECONDS: Final = 0.5
_CLOSING_TRIES: Final = 3
_ROWS_AT_ONCE: Final = 5_000
_WAITING: Final = int(ItemState.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterCallbacks:
    """Callbacks to the batch, each called on the batch's event loop.

    Attributes:
        trouble: Called with an error when the journal cannot be written, and with None when it can be again.
        lost: Called when another process has taken the batch over.
        cancel: Called when another process asks to cancel the batch.
        written: Called with the positions whose outcomes are now in the journal.
    """

    trouble: Callable[[DatabaseUnavailable | None], None]
    lost: Callable[[], None]
    cancel: Callable[[], None]
    written: Callable[[list[int]], None]


@dataclass(slots=True)
class _Queue:
    """What is waiting to be written."""

    rows: deque[OutcomeRow] = field(default_factory=deque[OutcomeRow])
    calls: deque[tuple[Callable[[JournalQueries], Any], "Future[Any]"]] = field(
        default_factory=deque[tuple[Callable[[JournalQueries], Any], "Future[Any]"]]
    )
    urgent: bool = False
    closing: bool = False


class JournalWriter:
    """Journal writer of one batch; its thread also keeps the lease alive.

    Args:
        journal: The folder's journal.
        number: The batch's number.
        token: The token of the owner, who already holds the lease.
        loop: The batch's event loop.
        callbacks: Callbacks to the batch.
        counts: Returns the batch's counts; called from the thread.
        heartbeat_seconds: How often to renew the lease while there is nothing to write.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        number: int,
        token: str,
        loop: asyncio.AbstractEventLoop,
        callbacks: WriterCallbacks,
        counts: Callable[[], Counts],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._counts = counts
        self._journal = journal
        self._number = number
        self._token = token
        self._loop = loop
        self._callbacks = callbacks
        self._heartbeat_seconds = heartbeat_seconds
        self._queue = _Queue()
        self._wake = threading.Condition()
        self._in_trouble = False
        self._cancel_announced = False
        self._path = journal.path
        self._identity = _identity(self._path)
        self._thread = threading.Thread(target=self._run, name=f"batch {number}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def write_soon(self, row: OutcomeRow) -> None:
        """Write the outcome of a request with the next commit."""
        with self._wake:
            self._queue.rows.append(row)
            if len(self._queue.rows) == 1:
                self._wake.notify()

    def flush(self) -> None:
        """Write the counts now, without waiting for the next renewal of the lease."""
        with self._wake:
            self._queue.urgent = True
            self._wake.notify()

    async def call(self, work: Callable[[JournalQueries], T], *, last: bool = False) -> T:
        """Call a function in the next transaction, after everything queued before, and return its result.

        Args:
            work: The function.
            last: Whether it releases the lease; nothing is written after it.

        Raises:
            JournalUnavailable: The writer was closed, or lost its lease, first.
        """
        done: Future[T] = Future()
        with self._wake:
            if not self._thread.is_alive():
                raise JournalUnavailable("The journal of this batch is closed.")
            self._queue.calls.append((work, done))
            self._queue.closing |= last
            self._wake.notify()
        return await asyncio.wrap_future(done)

    async def aclose(self) -> None:
        """Write what is left, if the journal can be written, and end the thread; the lease is kept."""
        with self._wake:
            self._queue.closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        tries = 0
        try:
            while tries < _CLOSING_TRIES:
                try:
                    self._check_there()
                    with self._journal.open() as queries:
                        if self._serve(queries):
                            return
                except DatabaseUnavailable as error:
                    self._report_trouble(error)
                    if isinstance(error, DamagedDatabase):
                        self._repair(error)
                    with self._wake:
                        tries += self._queue.closing
                        self._wake.wait(_TRY_AGAIN_SECONDS)
        except LeaseLost:
            self._notify(self._callbacks.lost)
        finally:
            self._refuse_the_rest()

    def _serve(self, queries: JournalQueries) -> bool:
        """Commit until the writer is closed and all is written; False if the file must be opened again."""
        while True:
            rows, calls, counts, closing = self._next()
            with ExitStack() as on_error:  # whatever stops the transaction, its work is queued again
                on_error.callback(self._requeue, rows, calls)
                if not self._is_there(queries):
                    return False
                results = self._commit(queries, rows, calls, counts)
                on_error.pop_all()
            self._report_trouble(None)
            if ended := [position for position, state, _ in rows if state != _WAITING]:
                self._notify(partial(self._callbacks.written, ended))
            for (_, done), (result, error) in zip(calls, results, strict=True):
                if not done.set_running_or_notify_cancel():
                    continue  # the caller was cancelled meanwhile
                if error is None:
                    done.set_result(result)
                else:
                    done.set_exception(error)
            if closing and not self._has_more():
                if self._loop.is_closed():
                    queries.release(self._number, "open", counts)
                return True

    def _next(
        self,
    ) -> tuple[list[OutcomeRow], list[tuple[Callable[[JournalQueries], Any], "Future[Any]"]], Counts, bool]:
        """Collect what to write: after a while, or immediately if a caller is waiting."""
        queue = self._queue
        with self._wake:
            if not (queue.rows or queue.calls or queue.closing or queue.urgent):
                self._wake.wait(self._heartbeat_seconds)
            if queue.rows and not (queue.calls or queue.closing or queue.urgent):
                self._wake.wait_for(lambda: queue.calls or queue.closing or queue.urgent, _LINGER_SECONDS)
            queue.urgent = False
            if self._loop.is_closed():  # the studio was abandoned without being closed
                queue.closing = True
            rows = [queue.rows.popleft() for _ in range(min(len(queue.rows), _ROWS_AT_ONCE))]
            calls = list(queue.calls) if not queue.rows else []
            if calls:
                queue.calls.clear()
            return rows, calls, self._counts(), queue.closing

    def _commit(
        self,
        queries: JournalQueries,
        rows: list[OutcomeRow],
        calls: list[tuple[Callable[[JournalQueries], Any], "Future[Any]"]],
        counts: Counts,
    ) -> list[tuple[Any, Exception | None]]:
        with writing(queries.connection):
            cancel = queries.renew_lease(self._number, self._token, counts)
            if rows:
                queries.finish(self._number, rows)
            results = [_result(queries, work) for work, _ in calls]
        if cancel and not self._cancel_announced:
            self._cancel_announced = True
            self._notify(self._callbacks.cancel)
        return results

    def _check_there(self) -> None:
        if _identity(self._path) != self._identity and not self._is_replaced():
            raise self._missing_journal_error()

    def _is_replaced(self) -> bool:
        """Switch to another file that has this batch, because a damaged one was repaired."""
        found = _identity(self._path)
        if found is None or not self._journal.owns(self._number, self._token):
            return False
        self._identity = found
        return True

    def _missing_journal_error(self) -> JournalUnavailable:
        return JournalUnavailable(
            "The output folder, or the journal of batches in it, no longer exists.",
            next_step="Restore the folder; the batch then continues.",
        )

    def _is_there(self, queries: JournalQueries) -> bool:
        """Wait for a folder that was moved or removed, because an open file could still be written to.

        If the folder was created again on the same disk, the journal is restored into it from the open file,
        which the system keeps. Returns False then, and if another process has repaired a damaged journal,
        because the new file must be opened.
        """
        tries = 0
        while _identity(self._path) != self._identity:
            if tries >= _CLOSING_TRIES:
                self._check_there()
            if self._is_replaced():
                return False
            if self._journal.restore(queries, device=self._identity and self._identity[0]):
                self._identity = _identity(self._path)
                return False
            self._report_trouble(self._missing_journal_error())
            with self._wake:
                tries += self._queue.closing
                self._wake.wait(_TRY_AGAIN_SECONDS)
        return True

    def _repair(self, error: DamagedDatabase) -> None:
        with suppress(DatabaseUnavailable):  # the next attempt tries again
            self._journal.repair(error)
            self._identity = _identity(self._path)

    def _requeue(
        self, rows: list[OutcomeRow], calls: list[tuple[Callable[[JournalQueries], Any], "Future[Any]"]]
    ) -> None:
        with self._wake:
            self._queue.rows.extendleft(reversed(rows))
            self._queue.calls.extendleft(reversed(calls))

    def _has_more(self) -> bool:
        with self._wake:
            return bool(self._queue.rows or self._queue.calls)

    def _report_trouble(self, error: DatabaseUnavailable | None) -> None:
        if error is not None or self._in_trouble:
            self._in_trouble = error is not None
            self._notify(partial(self._callbacks.trouble, error))

    def _notify(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile, so nobody listens
            self._loop.call_soon_threadsafe(call)

    def _refuse_the_rest(self) -> None:
        with self._wake:
            calls = list(self._queue.calls)
            self._queue.calls.clear()
        for _, done in calls:
            if not done.done():
                done.set_exception(JournalUnavailable("The journal of this batch is closed."))


def _result(
    queries: JournalQueries, work: Callable[[JournalQueries], T]
) -> tuple[T | None, Exception | None]:
    """Call `work`; journal errors end the transaction, others are returned for the caller."""
    try:
        return work(queries), None
    except (ValueError, TypeError, KeyError, LimitReached) as error:
        return None, error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
