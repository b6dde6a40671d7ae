"""Limits: refuse a new or resumed batch that exceeds a limit on images per hour or on work in progress."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from vllm_image_core.batches.batch_row import BatchRow
from vllm_image_core.batches.queries import JournalQueries
from vllm_image_core.errors import LimitReached
from vllm_image_core.imaging.size import PIXELS_PER_MEGAPIXEL

_HOUR_SECONDS: Final = 3_600
_ALIVE_SECONDS: Final = 60
"""A batch whose heartbeat is older than this is not in progress: its process has died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be requested in one folder; None for no limit.

    Attributes:
        images_per_hour: Images that may be requested in any hour. Images that failed, were cancelled or
            existed already do not count. Resuming a batch that was requested earlier requests again what is
            left of it.
        megapixels_in_flight: Megapixels of the images that are requested but not finished.
    """

    images_per_hour: int | None = None
    megapixels_in_flight: float | None = None

    def __bool__(self) -> bool:
        return self.images_per_hour is not None or self.megapixels_in_flight is not None


NO_LIMITS: Final = Limits()


def check_limits(queries: JournalQueries, limits: Limits, *, images: int, pixels: int) -> None:
    """Check whether a new batch keeps within the limits, in the transaction that records it.

    So two processes cannot both claim the remaining allowance.

    Args:
        queries: The journal of the folder.
        limits: The limits.
        images: Images of the new batch.
        pixels: Pixels of all of them together.

    Raises:
        LimitReached: It does not; says which limit, and when there is room again.
    """
    if limits:
        _check(queries, limits, images=images, pixels=pixels)


def check_limits_again(
    queries: JournalQueries, limits: Limits, batch_row: BatchRow, *, retried: bool
) -> None:
    """Check whether a batch may be resumed within the limits, in the transaction that takes it over.

    Its images count from now on, unless they count already because they were requested within the hour.

    Args:
        queries: The journal of the folder.
        limits: The limits.
        batch_row: The batch, as it was before it was taken over.
        retried: Whether its failed images are requested again, too.

    Raises:
        LimitReached: It may not; says which limit, and when there is room again.
    """
    again = batch_row.counts.failed if retried else 0
    left = _unfinished_images(batch_row) + again
    if not (limits and left):
        return
    _, counted = _requested_images(batch_row, int(time.time()) - _HOUR_SECONDS)
    images = counted + again if counted else left
    _check(queries, limits, images=images, pixels=_pixels(batch_row, left), but=batch_row.number)
    if not counted:
        queries.record_resumed(batch_row.number, left)


def check_limits_of_retry(queries: JournalQueries, limits: Limits, batch_row: BatchRow, images: int) -> None:
    """Check failed images of a batch in progress, in the transaction that queues them again.

    Args:
        queries: The journal of the folder.
        limits: The limits.
        batch_row: The batch, with its current counts.
        images: How many failed images are requested again.

    Raises:
        LimitReached: They would exceed the limits; says which one, and when there is room again.
    """
    if not (limits and images):
        return
    start = int(time.time()) - _HOUR_SECONDS
    _, counted = _requested_images(batch_row, start)
    left = _unfinished_images(batch_row) + images
    _check(
        queries,
        limits,
        images=counted + images,
        pixels=_pixels(batch_row, left),
        but=batch_row.number,
    )
    if batch_row.created <= start:
        queries.record_resumed(batch_row.number, counted + images)


def _check(
    queries: JournalQueries, limits: Limits, *, images: int, pixels: float, but: int | None = None
) -> None:
    """Check images against the limits and all batches but one."""
    now = int(time.time())
    rows = [row for row in queries.batch_rows_since(now - _HOUR_SECONDS) if row.number != but]
    if limits.images_per_hour is not None:
        counted = [_requested_images(row, now - _HOUR_SECONDS) for row in rows]
        _check_images(counted, limits.images_per_hour, images)
    if limits.megapixels_in_flight is not None:
        running = [row for row in rows if row.holder is not None and row.beat_at > now - _ALIVE_SECONDS]
        _check_megapixels(running, limits.megapixels_in_flight, pixels / PIXELS_PER_MEGAPIXEL)


def _check_images(counted: Sequence[tuple[int, int]], limit: int, images: int) -> None:
    if images > limit:
        raise LimitReached(
            f"This request has {images} images; the limit is {_images(limit)} an hour.",
            limit="images_per_hour",
            next_step=f"Request at most {limit} images.",
        )
    used = sum(count for _, count in counted)
    if used + images <= limit:
        return
    free_at = 0
    excess = used + images - limit
    for requested, count in sorted(counted):
        excess -= count
        if excess <= 0:
            free_at = requested + _HOUR_SECONDS + 1
            break
    left = max(0, limit - used)
    when = datetime.fromtimestamp(free_at, UTC)
    raise LimitReached(
        f"The limit is {_images(limit)} an hour, with {used} already requested. There will be room for "
        f"{_images(images)} at {when:%H:%M:%S} UTC, in {_duration(free_at - time.time())}.",
        limit="images_per_hour",
        free_at=when,
        next_step=f"Wait until then, or request at most {_images(left)} now." if left else "Wait until then.",
    )


def _check_megapixels(running: Sequence[BatchRow], limit: float, megapixels: float) -> None:
    if megapixels > limit:
        raise LimitReached(
            f"This request has {megapixels:.3g} megapixels; at most {limit:g} may be in progress at once.",
            limit="megapixels_in_flight",
            next_step="Request fewer or smaller images.",
        )
    used = sum(_pixels(row, _unfinished_images(row)) for row in running) / PIXELS_PER_MEGAPIXEL
    if used + megapixels <= limit:
        return
    ids = ", ".join(row.id for row in running[:3])
    raise LimitReached(
        f"The limit is {limit:g} megapixels in progress at once; {used:.3g} are in progress, and this "
        f"request has {megapixels:.3g} more. There will be room when images of {ids} are finished.",
        limit="megapixels_in_flight",
        next_step="Wait for that batch or cancel it, then call again.",
    )


def _requested_images(row: BatchRow, start: int) -> tuple[int, int]:
    """Return when images of a batch were requested after a time, and how many of them count."""
    if row.created > start:
        return row.created, _count_images(row)
    if row.resumed > start:
        return row.resumed, min(row.resumed_images, _count_images(row))
    return row.created, 0


def _count_images(row: BatchRow) -> int:
    """Return how many images of a batch count: not those that failed, were cancelled or existed already."""
    counts = row.counts
    if row.state == "cancelled":
        return max(0, counts.done + counts.left_running - counts.reused)
    return max(0, row.recorded - counts.failed - counts.reused)


def _unfinished_images(row: BatchRow) -> int:
    """Return how many images of a batch are unfinished."""
    return max(0, row.recorded - row.counts.done - row.counts.failed)


def _pixels(row: BatchRow, images: int) -> float:
    """Return the pixels of some images of a batch, taking all its images as equally large."""
    return row.pixels * images / max(1, row.recorded)


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes = math.ceil(max(0.0, seconds) / 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
