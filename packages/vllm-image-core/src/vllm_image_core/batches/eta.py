"""Batch ETA: estimate when a batch will end, from what is left of it and how fast its servers are."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from vllm_omni_client.errors import OmniError

from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.item_states import Progress
from vllm_image_core.batches.recorder import BatchRecorder
from vllm_image_core.errors import JournalUnavailable
from vllm_image_core.estimation.backlog import Backlog, Eta, ServerSpeed
from vllm_image_core.estimation.work import Work

_YIELD_EVERY: Final = 500
"""Waiting requests to count before yielding to the event loop."""

_MODEL_SECONDS: Final = 1.0
"""How long a resumed batch waits for its server's model before it starts."""

_USUAL: Final = Work(megapixels=1.0, forwards=20)
"""The image by whose generation time servers are compared."""


class BatchEta:
    """Estimate of the time one batch has left, kept up to date with each of its requests.

    Args:
        context: What the batch works with.

    Attributes:
        backlog: The work that is left: whoever works on the requests records it there.
    """

    def __init__(self, context: BatchContext) -> None:
        self._loaded = context.loaded
        self._speeds = context.speeds
        self.backlog: Backlog = Backlog(timer=context.timer)
        self._counting: asyncio.Task[None] | None = None

    def add(self, works: Mapping[Work, int]) -> None:
        """Add requests that will be sent to the time left, by their work."""
        for work, count in works.items():
            self.backlog.add(work, count)

    async def add_waiting(self, recorder: BatchRecorder) -> None:
        """Add the waiting requests of a resumed batch: some now, the rest in the background."""
        first = next(recorder.states.positions("waiting"), None)
        if first is None:
            return
        with suppress(OmniError, TimeoutError):  # the server of a resumed batch may be unavailable
            async with asyncio.timeout(_MODEL_SECONDS):
                await self._loaded.ready()
        after = await self._add_some(recorder, first - 1)
        if after is not None:
            self._counting = asyncio.create_task(self._add_rest(recorder, after), name="count a batch")

    def close(self) -> None:
        """Stop counting."""
        if self._counting is not None:
            self._counting.cancel()

    def estimate(self, progress: Progress, *, at_once: int) -> Eta:
        """Estimate the time the batch has left.

        Args:
            progress: Its counts.
            at_once: How many of its requests may be in progress at the same time.
        """
        speeds = _within(self._speeds(), at_once)
        if not speeds:
            return Eta(seconds=None, basis="the server has not reported its model")
        left = (progress.waiting or 0) + progress.running
        return self.backlog.eta(speeds, pictures_left=left, more=progress.total is None)

    async def _add_rest(self, recorder: BatchRecorder, after: int) -> None:
        rest: int | None = after
        with suppress(JournalUnavailable):  # the batch is over or waits for its journal: reported elsewhere
            while rest is not None:
                rest = await self._add_some(recorder, rest)

    async def _add_some(self, recorder: BatchRecorder, after: int) -> int | None:
        """Count some requests after a position; return the position of the last one, or None at the end."""
        items = await recorder.items_after(after, _YIELD_EVERY)
        requests = (item.request for item in items if recorder.states.waits(item.position))
        works = [await self._loaded.work(request) for request in requests]
        self.add(Counter(work for work in works if work is not None))
        await asyncio.sleep(0)
        return items[-1].position if items else None


def _within(speeds: Sequence[ServerSpeed], at_once: int) -> list[ServerSpeed]:
    """The servers that a batch can use with `at_once` requests in progress, the fastest first."""
    used: list[ServerSpeed] = []
    for speed in sorted(speeds, key=lambda speed: speed.predictor.seconds(_USUAL)):
        if at_once > 0:
            used.append(speed if speed.parallelism <= at_once else replace(speed, parallelism=at_once))
            at_once -= speed.parallelism
    return used
