"""Progress: count the rows of a run, and estimate from its latest images when it will end."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vllm_image_core.datasets.image_row import ImageRow
from vllm_image_core.estimation.backlog import Eta, duration

_LATEST: Final = 1_000
"""Images over which the speed of a run is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetProgress:
    """The counts of a run so far.

    Attributes:
        total: Rows of the source; None if it does not say.
        done: Images generated in this run.
        reused: Images found in the store without a row.
        skipped: Rows whose images have a row from an earlier run, and repeated rows.
        failed: Rows that have failed.
        seconds: Since the run began.
        eta: The time left.
    """

    total: int | None
    done: int
    reused: int
    skipped: int
    failed: int
    seconds: float
    eta: Eta

    @property
    def ended_count(self) -> int:
        """Number of rows that are over."""
        return self.done + self.reused + self.skipped + self.failed

    def __str__(self) -> str:
        of_total = f" of {self.total:,}" if self.total is not None else ""
        found = f", {self.reused + self.skipped:,} existed" if self.reused + self.skipped else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        rest = f"took {duration(self.seconds)}" if self.ended_count == self.total else str(self.eta)
        return f"{self.ended_count:,}{of_total} rows{found}{failed}, {rest}"


class ProgressCounter:
    """Counts the rows of a run.

    Args:
        total: Rows of the source; None if it does not say.
        timer: Returns seconds on a clock that never goes back.
    """

    def __init__(self, total: int | None, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._timer = timer
        self._started = timer()
        self._counts: Counter[str] = Counter()
        self._latest: deque[float] = deque([self._started], maxlen=_LATEST)

    def count(self, row: ImageRow | None, *, new: bool = True) -> None:
        """Count a finished row; None, or a row that is not new, stands for one that was recorded before."""
        status = row.status if row is not None and new else "skipped"
        self._counts[status] += 1
        if status in {"done", "failed"}:
            self._latest.append(self._timer())

    def skip(self, count: int) -> None:
        """Count rows that were recorded before."""
        self._counts["skipped"] += count

    @property
    def progress(self) -> DatasetProgress:
        """The counts so far."""
        counts = self._counts
        return DatasetProgress(
            total=self._total,
            done=counts["done"],
            reused=counts["reused"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            seconds=self._timer() - self._started,
            eta=self._eta(),
        )

    def _eta(self) -> Eta:
        if self._total is None:
            return Eta(seconds=None, basis="the number of rows is not known")
        left = self._total - self._counts.total()
        if left <= 0:
            return Eta(seconds=0.0, basis="measured", measured=True)
        if len(self._latest) == 1:
            return Eta(seconds=None, basis="no image of this run is done yet")
        seconds = (self._timer() - self._latest[0]) / (len(self._latest) - 1)
        return Eta(seconds=left * seconds, basis="measured", measured=True)
