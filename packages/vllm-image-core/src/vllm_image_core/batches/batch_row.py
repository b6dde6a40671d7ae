"""Batch row: read a batch's row from the journal, with its counts and its owner, and check its values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NewType

from vllm_image_core.storage.database import ImpossibleRow
from vllm_image_core.storage.owner import Holder, Owner

BatchId = NewType("BatchId", str)
"""`batch_` and 32 hexadecimal digits."""

_COUNTS: Final = ("running", "done", "failed", "reused", "left_running", "seconds", "cause")
_FACTS: Final = (
    *("number", "id", "created", "at_once", "chosen", "prompt", "recorded", "pixels", "state"),
    *("resumed", "resumed_images"),
)
_REST: Final = ("host", "pid", "beat_at", "fresh", "complete", "cancel", "owner", "place", "born", "beat")
COLUMNS: Final = (*_COUNTS, *_FACTS, *_REST)
"""The columns of a batch, in the order in which they are selected."""

INTEGER_COLUMNS: Final = (
    *("number", "created", "fresh", "at_once", "recorded", "complete", "cancel", "running", "done"),
    *("failed", "reused", "left_running", "beat", "beat_at", "pixels", "resumed", "resumed_images"),
)
"""The columns whose values are integers, 0 or more."""

TEXT_COLUMNS: Final = ("chosen", "prompt", "cause", "owner", "host", "place", "born")
"""The columns whose values are text, or NULL."""

_MOST: Final = 2**40
"""Upper limit for counts and times in seconds; a larger value would break other code, so it is damage."""
_LONGEST_SECONDS: Final = 1e10
_STATES: Final = frozenset({"open", "done", "partial", "failed", "cancelled", "stopped"})


def batch_id(bits: int) -> BatchId:
    """Create the id of a batch from 128 random bits (`secrets.randbits(128)`).

    Batches are looked up by id alone, so the id must not be guessable.

    Raises:
        ValueError: `bits` is negative or has more than 128 bits.
    """
    if not 0 <= bits < 1 << 128:
        raise ValueError("a batch id needs 128 bits")
    return BatchId(f"batch_{bits:032x}")


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of a batch, as its owner last wrote them; see `BatchSummary`."""

    running: int = 0
    done: int = 0
    failed: int = 0
    reused: int = 0
    left_running: int = 0
    seconds: float = 0.0
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """The row of a batch, with the names of its columns.

    Attributes:
        resumed: When its images were last requested again, in seconds since 1970; 0 if they never were.
        resumed_images: How many images that was.
    """

    number: int
    id: BatchId
    created: int
    fresh: bool
    at_once: int
    chosen: str | None
    prompt: str | None
    recorded: int
    pixels: int
    resumed: int
    resumed_images: int
    complete: bool
    state: str
    cancel: bool
    counts: Counts
    holder: Holder | None
    host: str | None
    pid: int | None
    beat_at: int

    @property
    def open(self) -> bool:
        """Whether the batch is running or can be resumed."""
        return self.state in {"open", "stopped"}


def read_batch_row(row: tuple[Any, ...]) -> BatchRow:
    """Return the row of a batch from the values of its columns.

    Raises:
        ImpossibleRow: It has values that are never written.
    """
    found: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    if not is_batch_row(found):
        raise ImpossibleRow("a batch has impossible values")
    return BatchRow(
        **{name: found[name] for name in _FACTS},
        host=found["host"],
        pid=found["pid"],
        beat_at=found["beat_at"],
        fresh=bool(found["fresh"]),
        complete=bool(found["complete"]),
        cancel=bool(found["cancel"]),
        counts=Counts(**{name: found[name] for name in _COUNTS}),
        holder=_holder(found),
    )


def is_batch_row(found: Mapping[str, object]) -> bool:
    """Whether the row of a batch, by column name, has values that this program may have written."""
    return (
        all(_is_count(found[name]) for name in INTEGER_COLUMNS)
        and all(value is None or isinstance(value, str) for value in (found[name] for name in TEXT_COLUMNS))
        and found["state"] in _STATES
        and isinstance(found["id"], str)
        and isinstance(seconds := found["seconds"], int | float)
        and 0 <= seconds < _LONGEST_SECONDS
        and (found["pid"] is None or _is_count(found["pid"]))
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < _MOST


def _holder(found: dict[str, Any]) -> Holder | None:
    """Who holds the batch. Without a token nobody does; the other columns then name the last holder."""
    if found["owner"] is None:
        return None
    owner = Owner(
        token=found["owner"],
        host=found["host"] or "",
        pid_namespace=found["place"] or "",
        pid=found["pid"] or 0,
        started=found["born"] or "",
    )
    return Holder(owner=owner, heartbeat=found["beat"])
