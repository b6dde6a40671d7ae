"""Limits: refuse a batch that would exceed what may be requested in an hour or be in progress at once."""

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

_MOST_READ: Final = 100_000
_FEW: Final = 1_000
"""Batches that are read at first; an hour seldom has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be requested in one folder; None for no limit.

    Attributes:
        images_per_hour: Images that may be requested in any hour. Images that failed, were cancelled or
            existed already do not count.
        megapixels_in_flight: Megapixels of the images that are requested but not finished.
    """

    images_per_hour: int | None = None
    megapixels_in_flight: float | None = None

    def __bool__(self) -> bool:
        return self.images_per_hour is not None or self.megapixels_in_flight is not None


NO_LIMITS: Final = Limits()


def check_limits(queries: JournalQueries, limits: Limits, *, images: int, pixels: int) -> None:
    """Check whether a new batch keeps within the limits, in the transaction that records it.

    So no two processes can both take what is left.

    Args:
        queries: The journal of the folder.
        limits: The limits.
        images: Images of the new batch.
        pixels: Pixels of all of them together.

    Raises:
        LimitReached: It does not; says which limit, and when there is room again.
    """
    if not limits:
        return
    now = int(time.time())
    rows = _rows_since(queries, now - _HOUR_SECONDS)
    if limits.images_per_hour is not None:
        recent = [row for row in rows if row.created > now - _HOUR_SECONDS]
        _check_images(recent, limits.images_per_hour, images)
    if limits.megapixels_in_flight is not None:
        running = [row for row in rows if row.state == "open" and row.beat_at > now - _ALIVE_SECONDS]
        _check_megapixels(running, limits.megapixels_in_flight, pixels / PIXELS_PER_MEGAPIXEL)


def _rows_since(queries: JournalQueries, start: int) -> Sequence[BatchRow]:
    """Return the newest batches, at least all that were created since then or are still open."""
    rows = queries.batch_rows(_FEW)
    if len(rows) == _FEW and rows[-1].created > start:
        rows = queries.batch_rows(_MOST_READ)
    return rows


def _check_images(recent: Sequence[BatchRow], limit: int, images: int) -> None:
    if images > limit:
        raise LimitReached(
            f"This request has {images} images, and at most {limit} may be requested in an hour.",
            limit="images_per_hour",
            next_step=f"Request at most {limit} images.",
        )
    counted = [(row.created, _requested(row)) for row in recent]
    used = sum(count for _, count in counted)
    if used + images <= limit:
        return
    free_at = 0
    excess = used + images - limit
    for created, count in sorted(counted):
        excess -= count
        if excess <= 0:
            free_at = created + _HOUR_SECONDS + 1
            break
    left = max(0, limit - used)
    when = datetime.fromtimestamp(free_at, UTC)
    raise LimitReached(
        f"At most {limit} images may be requested in an hour, and {used} have been. There is room for "
        f"{_images(images)} again at {when:%H:%M:%S} UTC, in {_duration(free_at - time.time())}.",
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
    used = sum(map(_megapixels_left, running))
    if used + megapixels <= limit:
        return
    ids = ", ".join(row.id for row in running[:3])
    raise LimitReached(
        f"At most {limit:g} megapixels may be in progress at once, {used:.3g} are, and this request has "
        f"{megapixels:.3g} more. There is room again when images of {ids} are finished.",
        limit="megapixels_in_flight",
        next_step="Wait for that batch or cancel it, then call again.",
    )


def _requested(row: BatchRow) -> int:
    """Return how many images of a batch count: not those that failed, were cancelled or existed already."""
    counts = row.counts
    if row.state == "cancelled":
        return max(0, counts.done + counts.left_running - counts.reused)
    return max(0, row.recorded - counts.failed - counts.reused)


def _megapixels_left(row: BatchRow) -> float:
    """Return the megapixels of the unfinished images of a batch, taking all its images as equally large."""
    left = max(0, row.recorded - row.counts.done - row.counts.failed)
    return row.pixels / PIXELS_PER_MEGAPIXEL * left / max(1, row.recorded)


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes = math.ceil(max(0.0, seconds) / 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
