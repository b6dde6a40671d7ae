"""Group writes to a file: write the first at once, and those that follow shortly after it together."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from vllm_image_core.errors import DatabaseUnavailable

T = TypeVar("T")

_logger = logging.getLogger(__name__)

GROUP_SECONDS: Final = 1.0
"""For how long a studio lets entries of the index and measurements wait to be written together."""


class GroupedWrites(Generic[T]):
    """Writes items that come one by one, in as few transactions as possible; thread-safe.

    An item that comes after a pause is written before `add` returns. Those that follow within the interval
    wait for its end, when a thread writes them together. After a write that failed, each item is written
    before `add` returns again, so that whoever adds it learns of the error.

    Args:
        write: Writes some items in one transaction, in order; blocks on the disk.
        seconds: The interval; 0 to write each item at once.
        clock: Returns seconds on a clock that never goes back.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], None],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[T] = []
        self._grouped_until = clock()

    def add(self, item: T, *, now: bool = False) -> None:
        """Write an item at once, or leave it for the end of the interval unless it must be written `now`.

        Raises:
            DatabaseUnavailable: It could not be written.
        """
        with self._lock:
            self._waiting.append(item)
            if not now and self._clock() < self._grouped_until:
                if len(self._waiting) == 1:
                    self._start_timer()
                return
            self._grouped_until = self._clock() + self._seconds
        self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            DatabaseUnavailable: It could not be written, and is dropped: each file can be read again.
        """
        with self._writing:
            with self._lock:
                items, self._waiting = self._waiting, []
            if not items:
                return
            try:
                self._write(items)
            except DatabaseUnavailable:
                self._grouped_until = self._clock()
                raise

    def _start_timer(self) -> None:
        timer = threading.Timer(max(0.0, self._grouped_until - self._clock()), self._flush_in_thread)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the process is ending
            self._grouped_until = self._clock()

    def _flush_in_thread(self) -> None:
        try:
            self.flush()
        except DatabaseUnavailable as error:
            _logger.warning("%s", error.message)
