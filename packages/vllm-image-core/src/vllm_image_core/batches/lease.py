"""A claim: how a batch becomes this process's own, newly recorded or taken over from one that has died."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_image_core.batches.concurrency import Concurrency
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import BatchRow, JournalQueries
from vllm_image_core.batches.stored_items import request_as_json
from vllm_image_core.batches.worker_pool import BatchId
from vllm_image_core.errors import BatchInUse
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.owner import Holder, Owner, is_dead, this_process

__all__ = ["Lease", "record_new_batch", "take_over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A batch that belongs to this process now.

    Attributes:
        id: What it is called by.
        number: Its number in the journal.
        token: The owner's.
        fresh: Whether its pictures are made anew, also where they are there.
        resumed: Whether it was worked on before: the folder is asked before the server.
        seconds: For how long it was worked on before.
    """

    id: BatchId
    number: int
    token: str
    fresh: bool
    resumed: bool = False
    seconds: float = 0.0


async def record_new_batch(
    journal: Journal,
    batch_id: BatchId,
    requests: Sequence[ImageRequest] | None,
    *,
    fresh: bool,
    at_once: Concurrency,
) -> Lease:
    """Enter a new batch in the journal, with all of its requests where they are known; all or nothing.

    Raises:
        JournalUnavailable: The journal cannot be written.
    """
    owner, created = this_process(secrets.token_hex(16)), int(time.time())

    def enter(queries: JournalQueries) -> int:
        number = queries.create(
            batch_id, owner, created=created, fresh=fresh, at_once=at_once.number, chosen=at_once.chosen
        )
        if requests is not None:
            queries.append(number, 0, map(request_as_json, requests), requests[0].prompt)
            queries.complete(number)
        return number

    entering = asyncio.ensure_future(asyncio.to_thread(journal.write, enter))
    try:
        number = await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait([entering])
        if entering.exception() is None:
            number = entering.result()
            await asyncio.to_thread(journal.write, lambda queries: queries.remove(number))
        raise
    return Lease(id=batch_id, number=number, token=owner.token, fresh=fresh)


async def take_over(journal: Journal, batch_id: str, *, beat_seconds: float, stale_seconds: float) -> Lease:
    """Take a batch over that nobody works on: at once where its owner is known to be dead, or after a while.

    Raises:
        UnknownBatch: No batch of this folder has that id.
        BatchInUse: Its owner lives: its counter has moved.
        JournalUnavailable: The journal cannot be read or written.
    """
    owner = this_process(secrets.token_hex(16))
    first: Holder | None = None
    since = time.monotonic()
    while True:
        batch_row = await asyncio.to_thread(journal.batch_row, batch_id)
        holder = batch_row.holder
        if first is not None and holder is not None and holder != first:
            raise _in_use(batch_row, holder)
        if holder is None or is_dead(holder.owner) or time.monotonic() - since >= stale_seconds:
            claimed = await asyncio.to_thread(_try_claim, journal, batch_row, owner)
            if claimed:
                return Lease(
                    id=batch_row.id,
                    number=batch_row.number,
                    token=owner.token,
                    fresh=batch_row.fresh,
                    resumed=True,
                    seconds=batch_row.counts.seconds,
                )
        first = first or holder
        await asyncio.sleep(min(beat_seconds, stale_seconds) / 4)


def _try_claim(journal: Journal, batch_row: BatchRow, owner: Owner) -> bool:
    return journal.write(lambda queries: queries.claim(batch_row.number, owner, batch_row.holder))


def _in_use(batch_row: BatchRow, holder: Holder) -> BatchInUse:
    return BatchInUse(
        f"Batch {batch_row.id} is worked on by process {holder.owner.pid} on {holder.owner.host}.",
        batch_id=batch_row.id,
        host=holder.owner.host,
        pid=holder.owner.pid,
    )
