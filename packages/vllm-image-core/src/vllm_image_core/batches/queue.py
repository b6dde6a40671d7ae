"""A feed: the requests of a batch that are still to be made, from the journal, in their order."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.stored_items import (
    BatchItem,
    ItemState,
    StoredOutcome,
    is_sound,
    is_whole,
    stored_record,
)
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.storage.library import Library

__all__ = ["BatchQueue"]

_logger = logging.getLogger(__name__)

_AT_ONCE: Final = 256


class BatchQueue:
    """Hands out what is to be made; each request once, and again after `rewind`.

    Args:
        log: The batch's.
        library: The folder.
        resumed: Whether the batch was worked on before: then what is done is looked at, and the folder is
            asked for what waits, before anything is handed out.

    Attributes:
        taken: The position that was handed out last.
        rewound: Whether all requests are to be gone through once more.
    """

    def __init__(self, log: BatchRecorder, library: Library, *, resumed: bool) -> None:
        self._log = log
        self._library = library
        self._resumed = resumed
        self._news = asyncio.Event()
        self._ended = False
        self.rewound: bool = False
        self._stopped = False
        self._out: set[int] = set()
        self.taken: int = 0

    def more(self, *, last: bool = False) -> None:
        """More requests were recorded; `last`: no others will follow."""
        self._ended |= last
        self._news.set()

    def rewind(self) -> None:
        """Go through all requests once more, for those that wait again."""
        self.rewound = True
        self._news.set()

    def back(self, position: int) -> None:
        """A request is in nobody's hands any more."""
        self._out.discard(position)

    def stop(self) -> None:
        """Hand out no more."""
        self._stopped = True
        self._news.set()

    async def items(self) -> AsyncGenerator[BatchItem]:
        """The requests that wait, as long as there are some or others may come."""
        after = -1
        while not self._stopped:
            self._news.clear()
            items = await self._log.take(after, _AT_ONCE)
            if items:
                after = items[-1].position
                for item in await self._still_to_make(items):
                    if self._stopped:
                        return
                    self.taken = item.position
                    self._out.add(item.position)
                    yield item
            elif self.rewound:
                self.rewound, after = False, -1
            elif self._ended:
                return
            else:
                await self._news.wait()

    async def _still_to_make(self, items: Sequence[BatchItem]) -> list[BatchItem]:
        states = self._log.states
        if self._resumed:
            await self._look_at([item for item in items if states.is_ended(item.position)])
            await self._find([item for item in items if self._may_be_made(item)])
        return [item for item in items if self._may_be_made(item)]

    def _may_be_made(self, item: BatchItem) -> bool:
        return self._log.states.waits(item.position) and item.position not in self._out

    async def _look_at(self, ended: Sequence[BatchItem]) -> None:
        """Let those wait again whose pictures are not there any more."""
        done = [item for item in ended if item.state == ItemState.DONE]
        lost = await asyncio.to_thread(self._find_lost, done)
        if lost:
            await self._log.forget(lost)

    def _find_lost(self, done: Sequence[BatchItem]) -> list[int]:
        return [item.position for item in done if not is_whole(item.told, self._library.root)]

    async def _find(self, waiting: Sequence[BatchItem]) -> None:
        """Enter those whose pictures lie in the folder: their process died before it wrote that down."""
        if waiting:
            for position, told in (await asyncio.to_thread(self._find_saved, waiting)).items():
                self._log.record_found(position, told)

    def _find_saved(self, waiting: Sequence[BatchItem]) -> dict[int, StoredOutcome]:
        try:
            records = self._library.in_batch(self._log.id, [item.position for item in waiting])
        except IndexUnavailable as error:
            _logger.warning("%s", error.message)
            return {}
        return {
            position: stored_record(record)
            for position, record in records.items()
            if is_sound(self._library.root / record.path.name)
        }
