"""Run a batch on a fleet as a studio does, without a folder or a journal, for tests in virtual time.

As many calls are open as the fleet wants. During an outage requests return to the queue, nothing is sent, and
the fleet's health is checked every five seconds until it is good or the outage has lasted too long.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vllm_image_core.errors import ImageError
from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.fleet import Fleet
from vllm_omni_client.errors import OmniError, ServerBusy, ServerUnreachable
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

OUTAGE_SECONDS: Final = 600.0


@dataclass
class VirtualBatch:
    """A batch of requests, each of which ends once.

    Attributes:
        fleet: The servers.
        outage_timeout: Seconds that an outage may last; then the remaining requests fail with its error.
        replies: Replies by position.
        errors: Errors by position.
        seconds: How long it took.
        pauses: How often it waited for an outage to end.
    """

    fleet: Fleet
    outage_timeout: float = OUTAGE_SECONDS
    replies: dict[int, ImageGenerationReply] = field(default_factory=dict[int, ImageGenerationReply])
    errors: dict[int, OmniError | ImageError] = field(default_factory=dict[int, OmniError | ImageError])
    seconds: float = 0.0
    pauses: int = 0

    def __post_init__(self) -> None:
        self._checked = -PROBE_SECONDS
        self._waiting: list[tuple[int, ImageGenerationRequest]] = []
        self._open: dict[asyncio.Task[ImageGenerationReply], tuple[int, ImageGenerationRequest]] = {}

    async def run(self, requests: Iterable[ImageGenerationRequest]) -> "VirtualBatch":
        """Send all requests, and return the batch when each has ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._waiting = [*enumerate(requests)][::-1]
        while self._waiting or self._open:
            self._send()
            await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            # In the order they were sent, so that all runs are the same.
            ended = [task for task in self._open if task.done()]
            outages = [outage for task in ended if (outage := self._take(task))]
            if outages:
                await self._pause(outages[-1])
        self.seconds = loop.time() - began
        return self

    def _send(self) -> None:
        while self._waiting and len(self._open) < self.fleet.window:
            item = self._waiting.pop()
            self._open[asyncio.create_task(self.fleet.generate_image(item[1], low_priority=True))] = item

    def _take(self, task: asyncio.Task[ImageGenerationReply]) -> OmniError | None:
        """Record how a call ended; if it ended in an outage, return the error."""
        position, request = self._open.pop(task)
        try:
            reply = task.result()
        except (ServerUnreachable, ServerBusy) as error:
            self._waiting.append((position, request))
            return error
        except (OmniError, ImageError) as error:
            self._end(position, error)
        else:
            self._end(position, reply)
        return None

    def _end(self, position: int, ended: ImageGenerationReply | OmniError | ImageError) -> None:
        if position in self.replies or position in self.errors:
            raise AssertionError(f"request {position} ended twice")
        if isinstance(ended, ImageGenerationReply):
            self.replies[position] = ended
        else:
            self.errors[position] = ended

    async def _pause(self, error: OmniError) -> None:
        """Let running calls end, then wait until a server is healthy or the outage has lasted too long."""
        self.pauses += 1
        while self._open:
            await asyncio.wait(self._open)
            for task in list(self._open):
                self._take(task)
        loop = asyncio.get_running_loop()
        until = loop.time() + self.outage_timeout
        while loop.time() < until:
            await asyncio.sleep(max(0.0, self._checked + PROBE_SECONDS - loop.time()))
            self._checked = loop.time()
            try:
                if await self.fleet.health_check():
                    return
            except OmniError as outage:
                error = outage
        while self._waiting:
            self._end(self._waiting.pop()[0], error)
