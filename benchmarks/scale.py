"""Simulate a fleet of 1,000 servers with failures, in virtual time, and compute what more images need.

Run it with `uvx nox -s bench -- scale`; `--servers 100 --images 2000` for a smaller one. The fleet is the
real one, with its queue, circuit breakers and health checks; only servers and time are simulated. The
servers are divided into cells, each with a run of its own, since the dispatcher's work for an image grows
with its servers. The arithmetic below it is that of docs/scale.md. Exits with 1 if a goal is
missed.
"""

import argparse
import asyncio
import math
import random
import sys
import time
from dataclasses import dataclass

from vllm_image_core.batches.worker_pool import run_items
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.errors import OmniError
from vllm_omni_client.models import ImageGenerationRequest

SECONDS = 2.0
"""GPU time of an image: 1024x1024 on one GPU, at 8 to 20 steps."""
BYTES = 1_430_000
"""A PNG of 1024x1024 (source: the simulator's and real images, about 1.4 MB)."""
BASE64 = 4 / 3
DAY = 86_400
LOST = 0.1
"""The share of the servers that goes down in the middle of the run."""
UNKNOWN = 0.001
"""The share of requests whose connection breaks after the image was generated."""
LEAST_EFFICIENCY = 0.9
MOST_REQUESTS = 1.05
ROW_BYTES = 300
PUTS_OF_A_PREFIX = 3_500
"""Writes per second that S3 takes for one prefix (source: AWS, "Optimizing Amazon S3 performance")."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulated run took.

    Attributes:
        images: Images generated for the caller.
        failed: Requests that failed.
        requests: Requests that reached a server.
        efficiency: Ideal time divided by the time it took.
        cpu_seconds: Real CPU time of the dispatcher.
    """

    images: int
    failed: int
    requests: int
    efficiency: float
    cpu_seconds: float


def simulate(servers: int, images: int, cell: int, seed: int) -> Result:
    """Generate some images on cells of servers, and lose a tenth of all servers halfway."""
    draw = random.Random(seed)

    def fault(_request: ServerRequest, _number: int) -> str | None:
        return "lost" if draw.random() < UNKNOWN else None

    members = [
        VirtualServer(f"http://gpu{number}", work=lambda _: SECONDS, noise=0.1, seed=number, fault=fault)
        for number in range(servers)
    ]
    requests = (ImageGenerationRequest(prompt="fox", seed=number) for number in range(images))
    counts = {"done": 0, "failed": 0}

    async def one_cell(own: list[VirtualServer]) -> None:
        fleet = Fleet(own, parallel=1, ceiling=2)

        async def one(request: ImageGenerationRequest) -> str:
            try:
                await fleet.generate_image(request, low_priority=True)
            except OmniError:
                return "failed"
            return "done"

        async with run_items(one, requests, at_once=2 * len(own)) as pool:
            async for outcome in pool:
                counts[outcome.value] += 1
        await fleet.aclose()

    async def generate() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        down_after = 0.5 * images / servers * SECONDS
        for member in draw.sample(members, int(LOST * servers)):
            loop.call_later(down_after, member.go_down)
        await asyncio.gather(*(one_cell(members[start : start + cell]) for start in range(0, servers, cell)))
        return loop.time() - began

    cpu = time.process_time()
    took = run(generate())
    cpu = time.process_time() - cpu
    half = 0.5 * images / servers * SECONDS
    ideal = half + 0.5 * images * SECONDS / (servers * (1 - LOST))
    sent = sum(member.sent for member in members)
    return Result(counts["done"], counts["failed"], sent, ideal / took, cpu)


def arithmetic(images: int) -> str:
    """Return a row of the table: what this many images need to be done in a day."""
    per_second = images / DAY
    gpus = math.ceil(per_second * SECONDS)
    gigabits = per_second * BYTES * BASE64 * 8 / 1e9
    terabytes = images * BYTES / 1e12
    rows = images * ROW_BYTES / 1e9
    return (
        f"| 10^{round(math.log10(images))} | {gpus:,} | {gigabits:,.2f} | {terabytes:,.1f} |"
        f" {per_second:,.0f} | {math.ceil(per_second / PUTS_OF_A_PREFIX):,} | {rows:,.2f} |"
        f" {math.ceil(images / 10**7):,} |"
    )


def main() -> int:
    """Print the figures; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=1_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--cell", type=int, default=25, help="servers of one process")
    given = parser.parse_args()
    found = simulate(given.servers, given.images, given.cell, seed=1)
    amplification = found.requests / found.images
    print(
        f"{given.servers:,} servers in cells of {given.cell}, {given.images:,} images,"
        f" {LOST:.0%} of the servers lost half way:"
    )
    print(f"  images {found.images:,}, failed {found.failed:,}")
    print(f"  efficiency {found.efficiency:.3f}   goal: at least {LEAST_EFFICIENCY}")
    print(f"  requests per image {amplification:.4f}   goal: at most {MOST_REQUESTS}")
    print(f"  CPU of the dispatcher {1000 * found.cpu_seconds / found.images:.2f} ms per image")
    print()
    print("| Images | GPUs | Gbit/s | TB | Images/s | S3 prefixes | GB of rows | Runs |")
    print("|---|---|---|---|---|---|---|---|")
    for exponent in range(5, 12):
        print(arithmetic(10**exponent))
    met = not found.failed and found.efficiency >= LEAST_EFFICIENCY and amplification <= MOST_REQUESTS
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
