"""Batch lease: claim a new batch for this process, or take one over from a process that has died."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_image_core.batches.batch_row import BatchId, BatchRow
from vllm_image_core.batches.concurrency import Concurrency
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.limits import NO_LIMITS, Limits, check_limits, check_limits_again
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.batches.stored_items import request_as_json
from vllm_image_core.errors import BatchInUse
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.owner import Holder, Owner, is_dead, this_process


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A batch that belongs to this process now.

    Attributes:
        id: The batch's id.
        number: Its number in the journal.
        token: The token of its owner.
        fresh: Whether to generate every image, even those that exist already.
        resumed: Whether it was resumed: then the folder is searched before anything is sent.
        seconds: How long it was worked on before.
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
    concurrency: Concurrency,
    pixels: int = 0,
    limits: Limits = NO_LIMITS,
) -> Lease:
    """Record a new batch, with its requests if they are known, in one transaction.

    Raises:
        JournalUnavailable: The journal cannot be written.
        LimitReached: It would exceed the limits.
    """
    owner, created = this_process(secrets.token_hex(16)), int(time.time())

    def insert(queries: JournalQueries) -> int:
        check_limits(queries, limits, images=len(requests or ()), pixels=pixels)
        number = queries.create(
            batch_id,
            owner,
            created=created,
            fresh=fresh,
            at_once=concurrency.number,
            chosen=concurrency.chosen,
            pixels=pixels,
        )
        if requests is not None:
            queries.append(number, 0, map(request_as_json, requests), requests[0].prompt)
            queries.complete(number)
        return number

    inserting = asyncio.ensure_future(asyncio.to_thread(journal.write, insert))
    try:
        number = await asyncio.shield(inserting)
    except asyncio.CancelledError:
        await asyncio.wait([inserting])
        if inserting.exception() is None:
            number = inserting.result()
            await asyncio.to_thread(journal.write, lambda queries: queries.remove(number))
        raise
    return Lease(id=batch_id, number=number, token=owner.token, fresh=fresh)


async def take_over(
    journal: Journal,
    batch_id: str,
    *,
    heartbeat_seconds: float,
    stale_seconds: float,
    limits: Limits = NO_LIMITS,
    retried: bool = False,
) -> Lease:
    """Take over a batch that nobody works on: immediately if its owner is dead, otherwise once it is stale.

    Args:
        journal: The journal of the folder.
        batch_id: The batch.
        heartbeat_seconds: How often its owner renews the lease.
        stale_seconds: How long a heartbeat may stand still.
        limits: What the images that are left must keep within.
        retried: Whether the failed images are left, too.

    Raises:
        LimitReached: The images that are left would exceed the limits; nothing has changed.
        UnknownBatch: No batch in this folder has that id.
        BatchInUse: Its owner is alive, because its heartbeat has moved.
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
            acquired = await asyncio.to_thread(
                _try_acquire, journal, batch_row, owner, limits=limits, retried=retried
            )
            if acquired:
                return Lease(
                    id=batch_row.id,
                    number=batch_row.number,
                    token=owner.token,
                    fresh=batch_row.fresh,
                    resumed=True,
                    seconds=batch_row.counts.seconds,
                )
        first = first or holder
        await asyncio.sleep(min(heartbeat_seconds, stale_seconds) / 4)


def _try_acquire(
    journal: Journal, batch_row: BatchRow, owner: Owner, *, limits: Limits, retried: bool
) -> bool:
    def acquire(queries: JournalQueries) -> bool:
        if not queries.acquire_lease(batch_row.number, owner, batch_row.holder):
            return False
        check_limits_again(queries, limits, batch_row, retried=retried)
        return True

    return journal.write(acquire)


def _in_use(batch_row: BatchRow, holder: Holder) -> BatchInUse:
    return BatchInUse(
        f"Batch {batch_row.id} is in use by process {holder.owner.pid} on {holder.owner.host}.",
        batch_id=batch_row.id,
        host=holder.owner.host,
        pid=holder.owner.pid,
    )
