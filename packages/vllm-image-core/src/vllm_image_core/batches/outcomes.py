"""Read the outcomes of a batch: recent ones from memory, older ones from the journal and image files."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from vllm_image_core.batches.batch_row import BatchId
from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.item_states import ImageOutcome, ItemStates
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.batches.runner import BatchRun
from vllm_image_core.batches.stored_images import as_row, read_image
from vllm_image_core.batches.stored_items import BatchItem, restore_error
from vllm_image_core.errors import RecordedFailure, UnknownBatch
from vllm_image_core.requests.generated_image import GeneratedImage

_ROWS_AT_ONCE: Final = 500
_AT_ONCE: Final = 50
"""Journal rows to read at once for a reader who has fallen behind."""


class OutcomeReader:
    """Reads the outcomes of one batch.

    Args:
        context: Gives its folder and journal.
        batch_id: The batch's id.
        states: The states of its requests.
        run: The running batch, or None.
    """

    def __init__(
        self, context: BatchContext, batch_id: BatchId, states: ItemStates, run: BatchRun | None
    ) -> None:
        self.states = states
        self._context = context
        self._id = batch_id
        self._run = run
        self._reading = asyncio.Lock()
        self._ahead: dict[int, BatchItem] = {}

    async def next(self) -> ImageOutcome | None:
        """The next unread outcome, in the order in which requests ended; None when none is left."""
        async with self._reading:
            while not (unread := self.states.next_unread(_AT_ONCE)):
                if await self._wait_for_end():
                    return None
            outcome = await self._outcome(unread[0], unread)
            self.states.count_read()
            return outcome

    async def has(self, position: int) -> bool:
        """Wait until a request has ended or never will; False if the batch has no such request."""
        while True:
            if position < self.states.recorded and self.states.is_ended(position):
                return True
            if self.states.complete and position >= self.states.recorded:
                return False
            if await self._wait_for_end():
                return position < self.states.recorded

    async def at(self, position: int) -> ImageOutcome | None:
        """The outcome of a request, or None."""
        if not self.states.is_ended(position):
            return None
        return await self._outcome(position, range(position, min(position + _AT_ONCE, self.states.recorded)))

    def read(self, position: int) -> ImageOutcome | None:
        """The outcome of a request without waiting for it, or None; blocks on disk I/O."""
        recent = self.states.recent(position)
        if recent is not None or not self.states.is_ended(position):
            return recent
        [item] = self._items([position]).values()
        return self._read_outcome(item)

    def rows(self) -> list[dict[str, object]]:
        """A row for each request that has ended, with its parameters and its outcome; blocks on disk I/O."""
        ended = [place for place in range(self.states.recorded) if self.states.is_ended(place)]
        root, registry = self._context.library.root, self._context.registry
        return [
            as_row(item, root, registry, is_done=self._is_done(item.position))
            for start in range(0, len(ended), _ROWS_AT_ONCE)
            for _, item in sorted(self._items(ended[start : start + _ROWS_AT_ONCE]).items())
        ]

    def image(self, position: int) -> GeneratedImage:
        """The image of a request that is done; blocks on disk I/O if it is not in memory.

        Raises:
            RecordedFailure: Its file can no longer be read.
        """
        recent = self.states.recent(position)
        if isinstance(recent, Done):
            return recent.value
        [item] = self._items([position]).values()
        return self._stored_image(item)

    def error(self, position: int) -> Exception:
        """The error of a failed request."""
        recent = self.states.recent(position)
        if isinstance(recent, Failed):
            return recent.error
        [item] = self._items([position]).values()
        return restore_error(item.outcome)

    async def _wait_for_end(self) -> bool:
        """Wait until another request has ended; True if no more will."""
        if self._run is None or self._run.over.is_set():
            return True
        changed = self._run.recorder.changed
        changed.clear()
        await changed.wait()
        return False

    async def _outcome(self, position: int, ahead: Sequence[int]) -> ImageOutcome:
        recent = self.states.recent(position)
        if recent is not None:
            return recent
        if position not in self._ahead:
            wanted = [place for place in ahead if self.states.recent(place) is None]
            self._ahead = await asyncio.to_thread(self._items, wanted)
        item = self._with_outcome(self._ahead.pop(position))
        return await asyncio.to_thread(self._read_outcome, item)

    def _read_outcome(self, item: BatchItem) -> ImageOutcome:
        if not self._is_done(item.position):
            return Failed(item.position, item.request, restore_error(item.outcome))
        try:
            return Done(item.position, item.request, self._stored_image(item))
        except RecordedFailure as error:
            return Failed(item.position, item.request, error)

    def _items(self, positions: Sequence[int]) -> dict[int, BatchItem]:
        journal = self._context.journal

        def look(queries: JournalQueries) -> dict[int, BatchItem]:
            batch_row = queries.batch_row(self._id)
            return {} if batch_row is None else queries.items_at(batch_row.number, positions)

        found = journal.read(look)
        if not found:
            raise UnknownBatch(f"Batch {self._id} is no longer in the journal.")
        return {position: self._with_outcome(item) for position, item in found.items()}

    def _with_outcome(self, item: BatchItem) -> BatchItem:
        """The item with its outcome, if that is not in the journal yet."""
        outcome = self.states.unwritten.get(item.position)
        return item if outcome is None else replace(item, outcome=outcome)

    def _is_done(self, position: int) -> bool:
        return self.states.state(position) == "done"

    def _stored_image(self, item: BatchItem) -> GeneratedImage:
        return read_image(item, self._context.library.root, self._context.registry)


class Images(Mapping[int, GeneratedImage]):
    """The images of a batch, by position."""

    def __init__(self, reader: OutcomeReader) -> None:
        self._reader = reader

    def __getitem__(self, position: int) -> GeneratedImage:
        if not _has(self._reader.states, position, "done"):
            raise KeyError(position)
        return self._reader.image(position)

    def __iter__(self) -> Iterator[int]:
        return self._reader.states.positions("done")

    def __len__(self) -> int:
        return self._reader.states.done_count


class Errors(Mapping[int, Exception]):
    """The failures of a batch, by position."""

    def __init__(self, reader: OutcomeReader) -> None:
        self._reader = reader

    def __getitem__(self, position: int) -> Exception:
        if not _has(self._reader.states, position, "failed"):
            raise KeyError(position)
        return self._reader.error(position)

    def __iter__(self) -> Iterator[int]:
        return self._reader.states.positions("failed")

    def __len__(self) -> int:
        return self._reader.states.failed_count


def _has(states: ItemStates, position: int, state: str) -> bool:
    return 0 <= position < states.recorded and states.state(position) == state
