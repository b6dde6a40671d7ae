"""Simulate a server in virtual time that runs some requests at once, queues others and fails on demand."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    ConnectionLost,
    EngineDead,
    OmniError,
    OutOfGpuMemory,
    RequestTimeout,
    ServerBusy,
    ServerError,
    ServerUnreachable,
)
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import (
    ImageGenerationReply,
    ImageGenerationRequest,
    ModelCard,
    ModelList,
    ReplyImage,
)

from vllm_image_core.fleet.backend import ServerRequest

_PNG: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
"""An image of one pixel."""

_BUSY: Final = 503

FAULTS: Final = ("unreachable", "busy", "lost", "timeout", "bad_reply", "error", "memory", "dead")
"""What can go wrong with a request, by name."""


@dataclass
class VirtualServer:
    """A backend whose work takes virtual time; see `virtual_time.run`.

    `work` returns the cost of a request, in seconds on a server of speed 1; each takes up to the share
    `noise` longer or shorter, and `round_trip` in the network. More than `most_waiting` requests are answered
    with 503. Its client gives up after `timeout`. `fault` is called with each arriving request and its
    number, from 1, and returns a name of `FAULTS`, or None; a dead engine is back after `restart` seconds, or
    never. It counts requests `sent`, images `made`, refusals because it was `busy`, the times of health
    `probes`, the most requests at once, and the seconds of each image.
    """

    base_url: str = "http://a"
    work: Callable[[ServerRequest], float] = lambda _: 1.0
    speed: float = 1.0
    parallel: int = 1
    round_trip: float = 0.05
    noise: float = 0.0
    most_waiting: int | None = None
    model: str = "model"
    version: str = "0.30.0"
    seed: int = 0
    tells_metrics: bool = False
    timeout: float = 300.0
    restart: float | None = None
    fault: Callable[[ServerRequest, int], str | None] = lambda _request, _number: None
    picture: bytes = _PNG
    is_up: bool = True
    engine_alive: bool = True
    sent: int = 0
    made: int = 0
    busy: int = 0
    probes: list[float] = field(default_factory=list[float])
    most_in_progress: int = 0
    latencies: list[float] = field(default_factory=list[float])
    closed: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.base_url} {self.seed}")  # noqa: S311 - not a secret, and the same each time
        self._running = asyncio.Semaphore(self.parallel)
        self._in_progress: dict[asyncio.Task[None], None] = {}  # in order, so that all runs are the same
        self._waiting = 0

    def go_down(self) -> None:
        """Refuse connections, and lose the running requests."""
        self.is_up = False
        for work in list(self._in_progress):
            work.cancel()

    def come_up(self) -> None:
        """Accept connections again, with a living engine."""
        self.is_up = self.engine_alive = True

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Generate an image of one pixel."""
        return await self._answer(request)

    async def edit_image(
        self,
        request: ImageEditRequest,
        /,
        image: Sequence[bytes],
        *,
        mask_image: bytes | None = None,
        reference_image: bytes | None = None,
    ) -> ImageGenerationReply:
        """Return an image of one pixel, whatever the input."""
        del image, mask_image, reference_image
        return await self._answer(request)

    async def _answer(self, request: ServerRequest) -> ImageGenerationReply:
        began = self._now()
        self.sent += 1
        number = self.sent
        await asyncio.sleep(self.round_trip / 2)
        self._refuse(request)
        fault = self.fault(request, number)
        await self._carry_out(request, fault)
        await asyncio.sleep(self.timeout if fault == "timeout" else self.round_trip / 2)
        self._fail_after(fault)
        self.made += 1
        self.latencies.append(self._now() - began)
        return ImageGenerationReply.model_construct(data=(ReplyImage.model_construct(bytes=self.picture),))

    async def get_models(self) -> ModelList:
        """Return its only model."""
        await self._ask()
        return ModelList(data=(ModelCard(id=self.model, root=self.model),))

    async def health_check(self) -> bool:
        """Return whether its engine is alive."""
        self.probes.append(self._now())
        await self._ask()
        return self.engine_alive

    async def get_version(self) -> str:
        """Return its version."""
        await self._ask()
        return self.version

    async def get_metrics(self) -> ServerMetrics:
        """Return how many requests run and wait, if it reports that."""
        await self._ask()
        if not self.tells_metrics:
            return ServerMetrics()
        return ServerMetrics(
            requests_running=len(self._in_progress) - self._waiting, requests_waiting=self._waiting
        )

    async def aclose(self) -> None:
        """Close the connections to it; running requests are lost, as with a client."""
        self.closed = True
        self.go_down()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _ask(self) -> None:
        await asyncio.sleep(self.round_trip)
        if not self.is_up:
            raise self._unreachable()

    def _unreachable(self) -> OmniError:
        return ServerUnreachable(f"{self.base_url} cannot be reached: refused", reason="refused")

    def _refuse(self, request: ServerRequest) -> None:
        if not self.is_up:
            raise self._unreachable()
        if not self.engine_alive:
            raise EngineDead(f"{self.base_url}: the engine is dead", status=500)
        if request.model is not None and request.model != self.model:
            raise BadRequest(
                f"Model mismatch: request specifies '{request.model}' but server is running '{self.model}'.",
                status=400,
            )
        if self.most_waiting is not None and self._waiting >= self.most_waiting:
            self.busy += 1
            raise ServerBusy(f"{self.base_url} is busy", status=_BUSY)

    async def _carry_out(self, request: ServerRequest, fault: str | None) -> None:
        self._fail_before(fault)
        task = asyncio.ensure_future(self._work_on(request, fault))
        self._in_progress[task] = None
        self.most_in_progress = max(self.most_in_progress, len(self._in_progress))
        try:
            await task
        except asyncio.CancelledError:
            if _is_cancelling() or (self.is_up and self.engine_alive):
                task.cancel()
                raise
            if not self.is_up:
                raise ConnectionLost(f"{self.base_url} closed the connection") from None
            raise EngineDead(f"{self.base_url}: the engine is dead", status=500) from None
        finally:
            self._in_progress.pop(task, None)

    async def _work_on(self, request: ServerRequest, fault: str | None) -> None:
        self._waiting += 1
        try:
            await self._running.acquire()
        finally:
            self._waiting -= 1
        try:
            spread = 1 + self.noise * self._random.uniform(-1, 1)
            await asyncio.sleep(self.work(request) / self.speed * spread)
            if fault == "dead":
                self._die()
        finally:
            self._running.release()

    def _die(self) -> None:
        self.engine_alive = False
        if self.restart is not None:
            asyncio.get_running_loop().call_later(self.restart, self.come_up)
        for work in list(self._in_progress):
            work.cancel()

    def _fail_before(self, fault: str | None) -> None:
        if fault == "unreachable":
            raise self._unreachable()
        if fault == "busy":
            self.busy += 1
            raise ServerBusy(f"{self.base_url} is busy", status=_BUSY, retry_after_seconds=1.0)
        if fault == "memory":
            raise OutOfGpuMemory(f"{self.base_url}: out of memory", status=500)

    def _fail_after(self, fault: str | None) -> None:
        if fault == "lost":
            raise ConnectionLost(f"{self.base_url} closed the connection")
        if fault == "timeout":
            raise RequestTimeout(f"no complete reply from {self.base_url}")
        if fault == "bad_reply":
            raise BadReply(f"{self.base_url} answered 200, but with a page")
        if fault == "error":
            raise ServerError(f"{self.base_url} failed", status=500)


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
