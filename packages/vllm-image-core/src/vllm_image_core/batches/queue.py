"""Batch queue: hand out the waiting requests of a batch from the journal, in order."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_images import is_valid_image
from vllm_image_core.batches.stored_items import (
    BatchItem,
    ItemState,
    StoredOutcome,
    is_complete,
    stored_record,
)
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.storage.library import Library

_logger = logging.getLogger(__name__)

_AT_ONCE: Final = 256


class BatchQueue:
    """Hand out the waiting requests: each once, and again after `rewind`.

    Args:
        recorder: The batch's recorder.
        library: The folder.
        resumed: Whether the batch was resumed. Then finished images are checked, and the folder is searched
            for images of waiting requests, before anything is handed out.

    Attributes:
        last_position: The last position that was handed out.
        rewound: Whether to go through all requests once more.
    """

    def __init__(self, recorder: BatchRecorder, library: Library, *, resumed: bool) -> None:
        self._recorder = recorder
        self._library = library
        self._resumed = resumed
        self._news = asyncio.Event()
        self._ended = False
        self.rewound: bool = False
        self._stopped = False
        self._out: set[int] = set()
        self.last_position: int = 0

    def announce(self, *, last: bool = False) -> None:
        """Announce that requests were recorded; `last` if no more will follow."""
        self._ended |= last
        self._news.set()

    def rewind(self) -> None:
        """Go through all requests again, to find those that wait again."""
        self.rewound = True
        self._news.set()

    def release(self, position: int) -> None:
        """Record that nobody is working on a request any more."""
        self._out.discard(position)

    def stop(self) -> None:
        """Stop handing out requests."""
        self._stopped = True
        self._news.set()

    async def items(self) -> AsyncGenerator[BatchItem]:
        """Yield waiting requests, as long as there are some or more may come."""
        after = -1
        while not self._stopped:
            self._news.clear()
            there_is_more = after + 1 < self._recorder.states.recorded
            items = await self._recorder.items_after(after, _AT_ONCE) if there_is_more else []
            if items:
                after = items[-1].position
                for item in await self._still_waiting(items):
                    if self._stopped:
                        return
                    self.last_position = item.position
                    self._out.add(item.position)
                    yield item
            elif self.rewound:
                self.rewound, after = False, -1
            elif self._ended:
                return
            else:
                await self._news.wait()

    async def _still_waiting(self, items: Sequence[BatchItem]) -> list[BatchItem]:
        states = self._recorder.states
        if self._resumed:
            await self._check_done([item for item in items if states.is_ended(item.position)])
            await self._find([item for item in items if self._is_available(item)])
        return [item for item in items if self._is_available(item)]

    def _is_available(self, item: BatchItem) -> bool:
        return self._recorder.states.waits(item.position) and item.position not in self._out

    async def _check_done(self, ended: Sequence[BatchItem]) -> None:
        """Queue requests again whose image files are gone."""
        done = [item for item in ended if item.state == ItemState.DONE]
        lost = await asyncio.to_thread(self._find_lost, done)
        if lost:
            await self._recorder.reset(lost)

    def _find_lost(self, done: Sequence[BatchItem]) -> list[int]:
        return [item.position for item in done if not is_complete(item.outcome, self._library.root)]

    async def _find(self, waiting: Sequence[BatchItem]) -> None:
        """Record images that are in the folder but not in the journal, because their process died."""
        if waiting:
            for position, outcome in (await asyncio.to_thread(self._find_saved, waiting)).items():
                self._recorder.record_found(position, outcome)

    def _find_saved(self, waiting: Sequence[BatchItem]) -> dict[int, StoredOutcome]:
        try:
            records = self._library.in_batch(self._recorder.id, [item.position for item in waiting])
        except IndexUnavailable as error:
            _logger.warning("%s", error.message)
            return {}
        return {
            position: stored_record(record, self._library.root)
            for position, record in records.items()
            if is_valid_image(record.path)
        }
