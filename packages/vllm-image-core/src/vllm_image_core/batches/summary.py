"""Batch summary: describe a batch from the journal, whichever process is working on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from vllm_image_core.batches.batch_row import BatchId
from vllm_image_core.batches.items import State
from vllm_image_core.display.card import Card, Displayed, time_text

BatchState = Literal["running", "paused", "interrupted", "done", "partial", "failed", "cancelled", "stopped"]
"""The state of a batch. `interrupted` and `stopped` batches can be resumed.

`paused` waits for its server or folder; nobody works on `interrupted`; `partial` ended with some failures and
`failed` with nothing but failures; `stopped` was stopped by a cause that would have failed every request.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary(Displayed):
    """A batch and its counts.

    Attributes:
        id: The batch's id.
        state: Its state.
        created: When it was recorded, in UTC, to the second.
        prompt: The prompt of its first request.
        total: Number of requests; None while more may come.
        recorded: Requests in the journal.
        waiting: Requests that are neither in progress nor ended.
        running: Requests in progress.
        done: Images saved.
        failed: Requests that have failed.
        cancelled: Requests that will not be sent.
        reused: How many of the saved images existed already.
        left_running: Images in progress when it was cancelled; a GPU may still have finished them.
        seconds: How long it was worked on.
        cause: Why it is paused, or was stopped.
        owner: Who is working on it: this process, another one, or nobody.
        host: The machine of the process that works on it, or did so last.
        pid: The id of that process.
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

    def _card(self) -> Card:
        can_resume = self.state in ("interrupted", "stopped")
        return Card(
            title=f"{self.id}: {self.state}, {self.done} of {self.total or '?'} images"
            f"{f', {self.failed} failed' if self.failed else ''}",
            facts={
                "prompt": self.prompt,
                "created": f"{self.created.astimezone():%Y-%m-%d %H:%M}",
                "time": time_text(self.seconds),
                "cause": self.cause,
            },
            notes=(f'Resume it with studio.resume("{self.id}").',) if can_resume else (),
        )


class BatchList(Displayed, tuple[BatchSummary, ...]):
    """Batches, shown as a table."""

    __slots__ = ()

    def _card(self) -> Card:
        return Card(
            title=f"{len(self)} {'batch' if len(self) == 1 else 'batches'}, newest first",
            columns=("batch", "state", "done", "failed", "total", "created", "prompt"),
            rows=[
                (
                    each.id,
                    each.state,
                    each.done,
                    each.failed,
                    each.total,
                    f"{each.created.astimezone():%Y-%m-%d %H:%M}",
                    each.prompt,
                )
                for each in self
            ],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReport:
    """One request of a batch, from the journal.

    Attributes:
        position: From 0.
        state: Its state; a request in progress may be shown as waiting.
        prompt: The prompt.
        seed: The seed, from the caller or drawn.
        path: Absolute path of its image; None without one.
        seconds: How long the image took.
        reused: Whether the image existed already.
        server: The server that generated it, without credentials; None if unknown.
        error: Why it failed.
        kind: The class name of that error.
        next_step: What to do about it.
        operation: "edit" if it starts from images; None if it was generated from text alone.
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
        items: The requests of this page.
        next_offset: Where the next page begins; None on the last page.
    """

    items: Sequence[ItemReport]
    next_offset: int | None

    def _card(self) -> Card:
        from vllm_image_core.display.thumbnails import Thumbnail  # noqa: PLC0415 - for notebooks alone

        return replace(
            super(FoundBatch, self)._card(),  # slots make a new class, which `super()` alone misses
            facts={"time": time_text(self.seconds), "cause": self.cause},
            columns=("image", "position", "state", "seed", "time", "prompt"),
            rows=[
                (
                    each.path and Thumbnail(each.path, each.prompt),
                    each.position,
                    each.error or each.state,
                    each.seed,
                    time_text(each.seconds),
                    each.prompt,
                )
                for each in self.items
            ],
        )
