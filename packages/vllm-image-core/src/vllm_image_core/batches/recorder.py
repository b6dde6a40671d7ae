"""Batch recorder: apply each change of a running batch to memory, journal and events together."""

import asyncio
import logging
from collections.abc import Sequence

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.batch_row import BatchId
from vllm_image_core.batches.events import Events
from vllm_image_core.batches.item_states import ItemStates
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.batches.limits import NO_LIMITS, Limits, check_limits_of_retry
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.batches.stored_items import (
    BatchItem,
    ItemState,
    StoredOutcome,
    as_json,
    request_as_json,
    stored_error,
)
from vllm_image_core.batches.writer import JournalWriter
from vllm_image_core.errors import ImageError
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import error_name, message_of

_logger = logging.getLogger(__name__)


class BatchRecorder:
    """Record what happens in one batch.

    Args:
        writer: Writes to the journal and keeps the lease.
        id: The batch's id.
        number: The batch's number in the journal.
        states: The states of its requests.
        events: Its event streams and listeners.

    Attributes:
        number: The batch's number in the journal.
        changed: Set when a request has ended.
        left_running: Number of images in progress when it was cancelled.
        cause: Why the batch is paused, or was stopped.
        trouble: The error the batch is waiting out, or None if it is not waiting.
    """

    def __init__(
        self,
        writer: JournalWriter,
        *,
        id: BatchId,  # noqa: A002 - the field's own name, and keyword-only
        number: int,
        states: ItemStates,
        events: Events,
    ) -> None:
        self.id = id
        self.states = states
        self.events = events
        self.changed: asyncio.Event = asyncio.Event()
        self.left_running = 0
        self.cause: str | None = None
        self.trouble: ImageError | OmniError | None = None
        self._writer = writer
        self.number = number
        self._short_id = id[:14]

    def label(self, position: int) -> str:
        """What log lines call a request."""
        return f"{self._short_id} #{position}"

    async def record(self, requests: Sequence[tuple[ImageRequest, Exception | None]]) -> None:
        """Record requests, each with the error that refuses it, or None."""
        first, number = self.states.recorded, self.number
        texts = [request_as_json(request) for request, _ in requests]
        prompt = None if first else requests[0][0].prompt
        await self._writer.call(lambda queries: queries.append(number, first, texts, prompt))
        self.states.record(len(requests))
        for position, (request, refusal) in enumerate(requests, first):
            self.events.emit("queued", position)
            if refusal is not None:
                self.record_failed(position, request, refusal)

    async def complete(self) -> None:
        """Record that the batch has all of its requests."""
        self.states.complete = True
        await self._writer.call(lambda queries: queries.complete(self.number))

    async def items_after(self, after: int, limit: int) -> list[BatchItem]:
        """Requests after a position, in order."""
        return await self._writer.call(lambda queries: queries.items_after(self.number, after, limit))

    def record_started(self, position: int, outcome: StoredOutcome) -> None:
        """Record that a request is about to be sent, so that a crash does not hide the attempt."""
        self.states.start(position)
        self._writer.write_soon((position, int(ItemState.WAITING), as_json(outcome)))
        self.events.emit("started", position)
        _logger.debug("%s #%d: started", self._short_id, position)

    def record_done(
        self, position: int, request: ImageRequest, image: GeneratedImage, outcome: StoredOutcome
    ) -> None:
        """Record that an image was saved, or found in the folder by its request."""
        self.states.end(Done(position, request, image))
        self._write(position, ItemState.DONE, outcome)
        self.events.emit("reused" if image.reused else "done", position)
        done = "found in the folder as" if image.reused else "saved as"
        _logger.debug("%s #%d: %s %s", self._short_id, position, done, image.path.name)

    def record_failed(self, position: int, request: ImageRequest, error: Exception) -> None:
        """Record that a request has failed."""
        self.states.end(Failed(position, request, error))
        self._write(position, ItemState.FAILED, stored_error(error))
        self.events.emit("failed", position, message_of(error))
        _logger.debug("%s: failed with %s", self.label(position), error_name(error))

    def record_found(self, position: int, outcome: StoredOutcome) -> None:
        """Record an image that is in the folder but was not in the journal."""
        self.states.mark_found(position)
        self._write(position, ItemState.DONE, outcome)
        self.events.emit("done", position)

    def waits_again(self, position: int, outcome: StoredOutcome) -> None:
        """Put a request back into the queue, keeping its attempts."""
        self.states.return_to_queue(position)
        self._write(position, ItemState.WAITING, outcome)
        self.events.emit("retried", position)
        _logger.debug("%s #%d: waiting to be sent again", self._short_id, position)

    def record_pause(self, reason: str | None) -> None:
        """Record why the batch is paused; None when an outage has ended."""
        self.cause = reason
        if reason is None:
            self.trouble = None
        self._writer.flush()
        if reason is None:
            self.events.emit("resumed")
            _logger.info("Batch %s continues", self.id)
        else:
            _logger.warning("Batch %s is paused: %s", self.id, reason)
            self.events.emit("paused", message=reason)

    async def reset(self, positions: Sequence[int], limits: Limits = NO_LIMITS) -> None:
        """Queue requests again, as if they had never been tried.

        Raises:
            LimitReached: They would exceed the limits; nothing has changed.
        """

        def reset(queries: JournalQueries) -> None:
            if limits and (batch_row := queries.batch_row(self.id)) is not None:
                check_limits_of_retry(queries, limits, batch_row, len(positions))
            queries.reset(self.number, positions)

        await self._writer.call(reset)
        for position in positions:
            self.states.reset(position)

    def _write(self, position: int, state: ItemState, outcome: StoredOutcome) -> None:
        self.states.unwritten[position] = outcome
        self.changed.set()
        self._writer.write_soon((position, int(state), as_json(outcome)))
