"""Play a random schedule of faults on several servers, reproducibly from one seed."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from virtual_batch import VirtualBatch
from vllm_image_core.errors import ImageError
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import FAULTS, VirtualServer
from vllm_image_core.testing.virtual_time import VirtualDeadlock, run
from vllm_omni_client.errors import OmniError
from vllm_omni_client.models import ImageGenerationRequest

LONGEST_SECONDS: Final = 7_200.0
"""A schedule that takes longer than this hangs; all its servers recover long before."""

_JOBS: Final = 20
_SERVERS: Final = 3
_LEAST_FAULTS: Final = 5
_MOST_FAULTS: Final = 9
_AMONG_REQUESTS: Final = 14
_WITHIN_SECONDS: Final = 60.0
_RESTART_SECONDS: Final = 15.0
_SIZES: Final = (0.3, 0.6, 1.0, 1.0, 2.0, 3.0)
_STATES: Final = ("down", "slow", "garbled", "replaced")
"""What can go wrong with a server for some time, in addition to faults of single requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleResult:
    """The result of a schedule.

    Attributes:
        seed: The seed to play it again.
        done: Number of requests that succeeded.
        failed: Errors of the other requests, by position.
        seconds: How long it took, in virtual time.
        sent: Number of requests that the servers received.
        faults: Number of faults of each kind.
        wrong: What went wrong, one sentence each; empty if nothing did.
    """

    seed: int
    done: int
    failed: Mapping[int, OmniError | ImageError]
    seconds: float
    sent: int
    faults: Mapping[str, int]
    wrong: tuple[str, ...]


def play(seed: int) -> ScheduleResult:
    """Play the schedule of a seed: 20 requests, 3 servers, 5 to 9 faults on each."""
    draw = random.Random(seed)
    faults: Counter[str] = Counter()
    servers = [_server(f"http://{number}", draw, faults) for number in range(_SERVERS)]
    states = [_states(server, draw, faults) for server in servers]
    requests = [
        ImageGenerationRequest(prompt="fox", seed=number, guidance_scale=draw.choice(_SIZES), model="model")
        for number in range(_JOBS)
    ]

    async def main() -> VirtualBatch:
        loop = asyncio.get_running_loop()
        for changes in states:
            for moment, change in changes:
                loop.call_later(moment, change)
        fleet = Fleet(servers, cost=_work, clock=loop.time)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                return await VirtualBatch(fleet).run(requests)
        finally:
            await fleet.aclose()

    try:
        batch = run(main())
    except (VirtualDeadlock, TimeoutError) as error:
        return _play(seed, servers, faults, VirtualBatch(Fleet(servers)), [f"it hangs: {error!r}"])
    return _play(seed, servers, faults, batch, _problems(batch))


def _play(
    seed: int, servers: list[VirtualServer], faults: Counter[str], batch: VirtualBatch, wrong: list[str]
) -> ScheduleResult:
    return ScheduleResult(
        seed=seed,
        done=len(batch.replies),
        failed=batch.errors,
        seconds=batch.seconds,
        sent=sum(server.sent for server in servers),
        faults=faults,
        wrong=tuple(wrong),
    )


def _problems(batch: VirtualBatch) -> list[str]:
    ended = len(batch.replies) + len(batch.errors)
    problems = [] if ended == _JOBS else [f"{ended} of {_JOBS} requests have ended"]
    for position, error in batch.errors.items():
        if not error.next_step.strip():
            problems.append(f"request {position} failed without a next step: {error!r}")
        if type(error) in {OmniError, ImageError}:
            problems.append(f"request {position} failed with an error without a class of its own: {error!r}")
    left = [member.url for member in batch.fleet.members if member.in_progress]
    return problems + [f"{url} still counts as busy" for url in left]


def _server(name: str, draw: random.Random, faults: Counter[str]) -> VirtualServer:
    """Create a server with faults in some of its first requests."""
    numbers = draw.sample(range(1, _AMONG_REQUESTS + 1), draw.randint(_LEAST_FAULTS, _MOST_FAULTS))
    plan = {number: draw.choice(FAULTS) for number in numbers}
    faults.update(plan.values())
    return VirtualServer(
        name,
        work=_work,
        speed=draw.choice((1.0, 0.5, 0.25)),
        parallel=draw.choice((1, 1, 2, 4)),
        noise=0.05,
        most_waiting=draw.choice((None, 2, 8)),
        restart=_RESTART_SECONDS,
        fault=lambda _, number: plan.get(number),
        seed=draw.randrange(2**32),
    )


def _states(
    server: VirtualServer, draw: random.Random, faults: Counter[str]
) -> list[tuple[float, Callable[[], object]]]:
    """Draw what goes wrong with a server for some time, and when it begins and ends."""
    state = draw.choice((*_STATES, None))
    if state is None:
        return []
    faults[state] += 1
    begins = draw.uniform(0, _WITHIN_SECONDS)
    ends = begins + draw.uniform(1, _WITHIN_SECONDS)
    right = server.speed, server.picture, server.model

    def wrong() -> None:
        match state:
            case "down":
                server.go_down()
            case "slow":
                server.speed /= 10
            case "garbled":
                server.picture = server.picture[:40]
            case _:
                server.model = "another"

    def mend() -> None:
        server.speed, server.picture, server.model = right
        if state == "down":
            server.come_up()

    return [(begins, wrong), (ends, mend)]


def _work(request: ServerRequest) -> float:
    return request.guidance_scale or 1.0
