"""A batch as it can be told from the journal, whichever process works on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from vllm_image_core.batches.worker_pool import BatchId, State

__all__ = ["BatchState", "BatchSummary", "FoundBatch", "ItemReport"]

BatchState = Literal["running", "paused", "interrupted", "done", "partial", "failed", "cancelled", "stopped"]
"""How a batch stands: `interrupted` and `stopped` ones can be resumed, the others of the last six have ended.

`paused` waits for its server or its folder; `interrupted` has nobody who works on it; `partial` has ended
with some failures, `failed` with nothing else; `stopped` was stopped by a cause that would have failed all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """A batch and its counts.

    Attributes:
        id: What it is called by.
        state: How it stands.
        created: When it was recorded, in UTC, to the second.
        prompt: That of its first request.
        total: How many requests it has; None while they are still coming.
        recorded: How many of them are in the journal.
        waiting: How many are neither under way nor ended.
        running: How many are under way.
        done: How many pictures are saved.
        failed: How many have failed.
        cancelled: How many will not be made.
        reused: How many of the done were there already.
        left_running: How many were under way when it was cancelled: a GPU may still have finished those.
        seconds: For how long it was worked on.
        cause: Why it is paused, or was stopped.
        owner: Who works on it: this process, another one, or nobody.
        host: The machine of who works on it, or did so last.
        pid: The process.
    """

    id: BatchId
    state: BatchState
    created: datetime
    prompt: str | None
    total: int | None
    recorded: int
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    reused: int
    left_running: int
    seconds: float
    cause: str | None
    owner: Literal["here", "elsewhere"] | None
    host: str | None
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReport:
    """One request of a batch, as the journal tells it.

    Attributes:
        position: From 0.
        state: Where it is; one that is under way may be told as waiting.
        prompt: What was asked for.
        seed: The caller's or the one that was drawn.
        path: Where its picture is, absolute; None without one.
        seconds: What the picture took.
        reused: Whether it was there already.
        server: Who made it, without credentials; None where that was not told.
        error: Why it failed.
        kind: The name of that error's class.
        next_step: What to do about it.
        operation: "edit" for one that starts from pictures; None for one that is made from a text.
    """

    position: int
    state: State
    prompt: str
    seed: int | None
    path: Path | None = None
    seconds: float | None = None
    reused: bool = False
    server: str | None = None
    error: str | None = None
    kind: str | None = None
    next_step: str | None = None
    operation: Literal["edit"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBatch(BatchSummary):
    """A batch with some of its requests, in their order.

    Attributes:
        items: At most as many as were asked for.
        next_offset: Where the next page begins; None where this is the last.
    """

    items: Sequence[ItemReport]
    next_offset: int | None
