"""What is known of a batch at work, in memory and in its journal: both are changed together, here."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.events import Events
from vllm_image_core.batches.item_states import ItemStates
from vllm_image_core.batches.queries import Counts
from vllm_image_core.batches.stored_items import (
    BatchItem,
    ItemState,
    StoredOutcome,
    as_json,
    request_as_json,
    stored_error,
)
from vllm_image_core.batches.worker_pool import BatchId, Done, Failed
from vllm_image_core.batches.writer import JournalWriter
from vllm_image_core.errors import ImageError
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import error_name

__all__ = ["BatchRecorder"]

_logger = logging.getLogger(__name__)


class BatchRecorder:
    """The log of one batch.

    Args:
        id: What the batch is called by.
        number: That in the journal.
        writer: Holds its lease, and writes.
        states: What is known of each request.
        events: Who is told.
        seconds: For how long the batch was worked on, before and now.

    Attributes:
        number: Its number in the journal.
        changed: Set when a request has ended.
        left_running: How many were under way when it was cancelled.
        cause: Why the batch waits, or was stopped.
        trouble: The error that it waits for the end of; None while it waits for nothing.
    """

    def __init__(
        self,
        writer: JournalWriter,
        *,
        id: BatchId,  # noqa: A002 - the field's own name, and keyword-only
        number: int,
        states: ItemStates,
        events: Events,
        seconds: Callable[[], float],
    ) -> None:
        self.id = id
        self.states = states
        self.events = events
        self.changed: asyncio.Event = asyncio.Event()
        self.left_running = 0
        self.cause: str | None = None
        self.trouble: ImageError | OmniError | None = None
        self._seconds = seconds
        self._writer = writer
        self.number = number
        self._short_id = id[:14]

    @property
    def counts(self) -> Counts:
        """How the batch stands, for the journal."""
        states = self.states
        return Counts(
            running=states.running,
            done=states.done_count,
            failed=states.failed_count,
            reused=states.reused,
            left_running=self.left_running,
            seconds=self._seconds(),
            cause=self.cause,
        )

    def label(self, position: int) -> str:
        """What log lines call a request."""
        return f"{self._short_id} #{position}"

    async def record(self, requests: Sequence[tuple[ImageRequest, Exception | None]]) -> None:
        """Write requests down, each with the reason why it is refused, if it is."""
        first, number = self.states.recorded, self.number
        texts = [request_as_json(request) for request, _ in requests]
        prompt = None if first else requests[0][0].prompt
        await self._writer.call(lambda queries: queries.append(number, first, texts, prompt))
        self.states.record(len(requests))
        for position, (request, refusal) in enumerate(requests, first):
            self.events.tell("queued", position)
            if refusal is not None:
                self.record_failed(position, request, refusal)

    async def complete(self) -> None:
        """Write down that these were all requests."""
        self.states.complete = True
        await self._writer.call(lambda queries: queries.complete(self.number))

    async def take(self, after: int, limit: int) -> list[BatchItem]:
        """Some requests behind a position, in order."""
        return await self._writer.call(lambda queries: queries.take(self.number, after, limit))

    async def some(self, positions: Sequence[int]) -> dict[int, BatchItem]:
        """The requests at some positions, at most 500."""
        return await self._writer.call(lambda queries: queries.some(self.number, positions))

    def record_started(self, position: int, told: StoredOutcome) -> None:
        """A request is under way: should this process end now, it may have been sent."""
        self.states.start(position)
        self._writer.write_soon((position, int(ItemState.WAITING), as_json(told)))
        self.events.tell("started", position)
        _logger.debug("%s #%d: started", self._short_id, position)

    def record_done(
        self, position: int, request: ImageRequest, image: GeneratedImage, told: StoredOutcome
    ) -> None:
        """A picture is saved, or was found."""
        self.states.end(Done(position, request, image))
        self._write(position, ItemState.DONE, told)
        self.events.tell("reused" if image.reused else "done", position)
        done = "found in the folder as" if image.reused else "saved as"
        _logger.debug("%s #%d: %s %s", self._short_id, position, done, image.path.name)

    def record_failed(self, position: int, request: ImageRequest, error: Exception) -> None:
        """A request has failed."""
        self.states.end(Failed(position, request, error))
        self._write(position, ItemState.FAILED, stored_error(error))
        self.events.tell("failed", position, str(error))
        _logger.debug("%s: failed with %s", self.label(position), error_name(error))

    def record_found(self, position: int, told: StoredOutcome) -> None:
        """A picture lies in the folder that the journal did not know."""
        self.states.mark_found(position)
        self._write(position, ItemState.DONE, told)
        self.events.tell("done", position)

    def waits_again(self, position: int, told: StoredOutcome) -> None:
        """A request goes back to those that wait; what is told of it stays."""
        self.states.return_to_queue(position)
        self._write(position, ItemState.WAITING, told)
        self.events.tell("retried", position)
        _logger.debug("%s #%d: waits to be sent again", self._short_id, position)

    def record_pause(self, reason: str | None) -> None:
        """Something that is needed is away, and why; None: one thing of those is back."""
        self.cause = reason
        if reason is None:
            self.trouble = None
        self._writer.hurry()
        if reason is None:
            self.events.tell("resumed")
            _logger.info("Batch %s goes on", self.id)
        else:
            _logger.warning("Batch %s waits: %s", self.id, reason)
            self.events.tell("paused", message=reason)

    async def forget(self, positions: Sequence[int]) -> None:
        """Let requests wait again as if they had never been tried."""
        for position in positions:
            self.states.forget(position)
        await self._writer.call(lambda queries: queries.forget(self.number, positions))

    def _write(self, position: int, state: ItemState, told: StoredOutcome) -> None:
        self.states.unwritten[position] = told
        self.changed.set()
        self._writer.write_soon((position, int(state), as_json(told)))
