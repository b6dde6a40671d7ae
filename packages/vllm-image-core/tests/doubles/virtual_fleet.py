"""A fleet of virtual servers, and jobs for it whose work is known."""

import asyncio
import random
from collections.abc import Callable, Sequence

from virtual_batch import VirtualBatch
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.models import ImageGenerationRequest

SIZES = (0.3, 0.6, 1.0, 1.0, 2.0, 3.0)


def work(request: ServerRequest) -> float:
    """The cost of a request on a double, whose seconds are in the guidance field."""
    return request.guidance_scale or 1.0


def jobs(
    count: int, *, sizes: Sequence[float] = SIZES, model: str | None = None
) -> list[ImageGenerationRequest]:
    draw = random.Random(1)
    return [
        ImageGenerationRequest(prompt="fox", seed=seed, guidance_scale=draw.choice(sizes), model=model)
        for seed in range(count)
    ]


def servers(*speeds: float, **options: object) -> list[VirtualServer]:
    return [
        VirtualServer(f"http://{name}", speed=speed, work=work, noise=0.03, **options)  # type: ignore[arg-type]  # a test's options
        for name, speed in zip("abcdefgh", speeds, strict=False)
    ]


def busy(_request: ServerRequest, _number: int) -> str:
    return "busy"


def fleet_of(members: Sequence[VirtualServer]) -> Fleet:
    return Fleet(members, cost=work, clock=asyncio.get_running_loop().time)


def batch(
    members: Sequence[VirtualServer],
    requests: Sequence[ImageGenerationRequest],
    meanwhile: Callable[[Fleet], object] | None = None,
) -> VirtualBatch:
    async def main() -> VirtualBatch:
        fleet = fleet_of(members)
        if meanwhile is not None:
            meanwhile(fleet)
        async with asyncio.timeout(3_600):
            return await VirtualBatch(fleet).run(requests)

    return run(main())


def at(seconds: float, change: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_later(seconds, change)


def ideal(requests: Sequence[ImageGenerationRequest], *speeds: float) -> float:
    return sum(map(work, requests)) / sum(speeds)


def error(_request: ServerRequest, _number: int) -> str:
    return "error"


def rubbish(_request: ServerRequest, _number: int) -> str:
    return "bad_reply"
