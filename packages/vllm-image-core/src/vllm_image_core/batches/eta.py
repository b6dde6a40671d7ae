"""When a batch will be over: what is left of it, and how fast the servers are that work on it."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.batches.worker_pool import Progress
from vllm_image_core.errors import JournalUnavailable
from vllm_image_core.estimation.backlog import Backlog, Eta, ServerSpeed
from vllm_image_core.estimation.work import Work
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest

__all__ = ["BatchEta"]

_BREATH: Final = 500
"""Requests that are counted between two turns of the event loop."""

_MODEL_SECONDS: Final = 1.0
"""A batch that goes on waits no longer for its server's model before it begins."""

_USUAL: Final = Work(megapixels=1.0, forwards=20)
"""By how long such a picture takes, servers are compared."""


class BatchEta:
    """The end of one batch in time, kept up to date with each of its requests.

    Args:
        context: What the batch works with.
    """

    def __init__(self, context: BatchContext) -> None:
        self._generator = context.generator
        self._speeds = context.speeds
        self._remaining = Backlog(timer=context.timer)
        self._counting: asyncio.Task[None] | None = None

    async def expect(self, requests: Iterable[ImageRequest]) -> None:
        """Requests that will be made: how long they take is part of the time that is left."""
        counts: Counter[Work] = Counter()
        for number, request in enumerate(requests, 1):
            work = await self._work(request)
            if work is not None:
                counts[work] += 1
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        for work, count in counts.items():
            self._remaining.add(work, count)

    async def expect_left(self, log: BatchRecorder) -> None:
        """What waits of a batch that goes on: some of it is counted now, and the rest beside the work."""
        first = next(log.states.positions("waiting"), None)
        if first is None:
            return
        with suppress(OmniError, TimeoutError):  # a batch may go on whose server is away
            async with asyncio.timeout(_MODEL_SECONDS):
                await self._generator.ready()
        after = await self._expect_some(log, first - 1)
        if after is not None:
            self._counting = asyncio.create_task(self._expect_all(log, after), name="what is left of a batch")

    def close(self) -> None:
        """Count no more."""
        if self._counting is not None:
            self._counting.cancel()

    async def mark_started(self, position: int, request: ImageRequest) -> None:
        """A request is on its way."""
        work = await self._work(request)
        if work is not None:
            self._remaining.mark_sent(position, work)

    def waits_again(self, position: int) -> None:
        """A request that was on its way goes back to those that wait; one that was not stays as it is."""
        self._remaining.mark_returned(position)

    def mark_ended(self, position: int, *, made: bool) -> None:
        """A request will not be sent any more; `made`: because its picture is there, and is a new one."""
        self._remaining.mark_ended(position, made=made)

    def estimate(self, progress: Progress, *, at_once: int) -> Eta:
        """How long the batch will still take, and what that rests on.

        Args:
            progress: How it stands.
            at_once: How many of its requests may be under way at the same time.
        """
        speeds = _within(self._speeds(), at_once)
        if not speeds:
            return Eta(seconds=None, basis="the server has not told its model")
        left = (progress.waiting or 0) + progress.running
        return self._remaining.eta(speeds, pictures_left=left, more=progress.total is None)

    async def _expect_all(self, log: BatchRecorder, after: int) -> None:
        rest: int | None = after
        with suppress(JournalUnavailable):  # the batch is over, or waits for its journal: others tell that
            while rest is not None:
                rest = await self._expect_some(log, rest)

    async def _expect_some(self, log: BatchRecorder, after: int) -> int | None:
        """Count some requests behind a position, and return the last one's; None where there are none."""
        items = await log.take(after, _BREATH)
        await self.expect(item.request for item in items if log.states.waits(item.position))
        return items[-1].position if items else None

    async def _work(self, request: ImageRequest) -> Work | None:
        if isinstance(request, EditRequest):  # its pictures are read for it
            return await asyncio.to_thread(self._generator.work, request)
        return self._generator.work(request)


def _within(speeds: Sequence[ServerSpeed], at_once: int) -> list[ServerSpeed]:
    """The servers that work on a batch, the fastest first, with no more requests than it has under way."""
    kept: list[ServerSpeed] = []
    for speed in sorted(speeds, key=lambda speed: speed.predictor.seconds(_USUAL)):
        if at_once > 0:
            kept.append(speed if speed.parallelism <= at_once else replace(speed, parallelism=at_once))
            at_once -= speed.parallelism
    return kept
