"""Measure in virtual time how close the batch engine comes to the ideal, and what it costs itself.

Run it with `uvx nox -s bench -- engine`; `--schedules 100` for fewer schedules of faults, `--seed 7` to
replay one of them and see how each request ended. Seeds are fixed, so two runs print the same figures,
except for CPU and memory, and for the third digit of a studio's figures, whose journal is written by a
thread. Exits with 1 if a goal is missed.

The ideal for several servers is the sum of all work divided by the sum of all speeds; a dead or flapping
server is not included, as it gets fewer and fewer requests.
"""

import argparse
import asyncio
import gc
import itertools
import logging
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from fault_schedule import ScheduleResult, play
from virtual_batch import VirtualBatch
from vllm_image_core.batches.items import Done
from vllm_image_core.batches.worker_pool import run_items
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest
from vllm_omni_client.receipt import CallReport

SEEDS = range(5)
SCHEDULES = 2_000
STUDIO_SEEDS = 2
MODEL = "Tongyi-MAI/Z-Image-Turbo"
SIZES = (0.3, 0.6, 1.0, 1.0, 2.0, 3.0)
"""Mixed jobs, in seconds on a server of speed 1."""
NOISE = 0.05
NOISES = (0.0, 0.05, 0.1)
"""Without noise, the replies of a server that runs many requests at once come in waves."""
MUCH_NOISE = 0.2
MANY = 8
NO_OPS = 100_000
RTT_SECONDS = 0.05
DOWN_AT, UP_AT = 20.0, 320.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number and its goal."""

    name: str
    value: float
    goal: float
    at_least: bool = False
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return (
            f"  {self.name:66} {self.value:9.3f}{self.unit}   goal: {sign} {self.goal:g}{self.unit}"
            f"   {'met' if self.is_met else 'MISSED'}"
        )


def work(request: ServerRequest) -> float:
    """Return a job's seconds on a server of speed 1, which are stored in the guidance field."""
    return request.guidance_scale or 1.0


def mixed(count: int, seed: int) -> list[ImageGenerationRequest]:
    """Return jobs of several sizes."""
    draw = random.Random(seed)
    return [
        ImageGenerationRequest(prompt="fox", seed=number, guidance_scale=draw.choice(SIZES), model="model")
        for number in range(count)
    ]


def equal(count: int) -> list[ImageGenerationRequest]:
    """Return jobs of one second."""
    return [ImageGenerationRequest(prompt="fox", seed=number, guidance_scale=1.0) for number in range(count)]


def made(
    servers: Sequence[VirtualServer],
    requests: Sequence[ImageGenerationRequest],
    meanwhile: Callable[[Fleet], object] = lambda _: None,
    *,
    parallel: int | None = None,
) -> VirtualBatch:
    """Run a batch on some servers in virtual time."""

    async def main() -> VirtualBatch:
        fleet = Fleet(servers, cost=work, parallel=parallel, clock=asyncio.get_running_loop().time)
        meanwhile(fleet)
        try:
            return await VirtualBatch(fleet).run(requests)
        finally:
            await fleet.aclose()

    return run(main())


def at(seconds: float, change: Callable[[], object]) -> None:
    """Schedule a change at a moment of virtual time."""
    asyncio.get_running_loop().call_later(seconds, change)


def hosts(*speeds: float, seed: int) -> list[VirtualServer]:
    """Create servers of the given speeds, each running one job at a time."""
    return [
        VirtualServer(
            f"http://{number}", speed=speed, work=work, noise=NOISE, seed=seed, round_trip=RTT_SECONDS
        )
        for number, speed in enumerate(speeds)
    ]


def limit_figures() -> list[Figure]:
    """Measure one server whose parallelism is known or must be found."""
    figures: list[Figure] = []
    for parallel in (1, 2, 4, 8, 16, 32):
        known: list[float] = []
        found: list[float] = []
        latency: list[float] = []
        refused: list[float] = []
        for seed, noise in itertools.product(SEEDS, NOISES):
            server = VirtualServer(work=work, parallel=parallel, noise=noise, seed=seed)
            known.append(made([server], equal(2_000), parallel=parallel).seconds / (2_000 / parallel))
            server = VirtualServer(work=work, parallel=parallel, noise=noise, seed=seed, most_waiting=8)
            found.append(made([server], equal(500)).seconds / (500 / parallel))
            latency.append(statistics.mean(server.latencies))
            refused.append(100 * server.busy / 500)
        figures += [
            Figure(f"parallel {parallel:2} known, 2,000 jobs of 1 s: makespan / ideal", max(known), 1.02),
            Figure(f"parallel {parallel:2} to be found, 500 jobs of 1 s: makespan / ideal", max(found), 1.10),
            *_noisy_figures(parallel),
            Figure("    its mean latency / service time", max(latency), 3.0),
            Figure("    jobs that were refused with 503, 8 waiting at most", max(refused), 2.0, unit=" %"),
        ]
    return figures


def _noisy_figures(parallel: int) -> list[Figure]:
    """Measure a server whose parallelism must be found although its times differ much."""
    if parallel < MANY:
        return []
    found: list[float] = []
    for seed in SEEDS:
        server = VirtualServer(work=work, parallel=parallel, noise=MUCH_NOISE, seed=seed, most_waiting=8)
        found.append(made([server], equal(500)).seconds / (500 / parallel))
    return [Figure("    the same, with 20 % of noise", max(found), 1.12)]


def fleet_figures() -> list[Figure]:
    """Measure several servers of different speed."""
    spans: list[float] = []
    for seed in range(20):
        requests = mixed(200, seed)
        done = made(hosts(1, 0.5, 0.25, seed=seed), requests)
        spans.append(done.seconds / (sum(map(work, requests)) / 1.75))
    share: list[float] = []
    failed = repeated = 0
    for seed in range(10):
        requests = mixed(200, seed)
        servers = hosts(1, 1, 1, 1, 1, 1, 1, 0.1, seed=seed)
        servers[5].is_up = False
        done = made(servers, requests, lambda _, flapping=servers[6]: flap(flapping))
        share.append(100 * sum(map(work, requests)) / 5.1 / done.seconds)
        failed += len(done.errors)
        repeated = max(repeated, sum(server.sent for server in servers))
    return [
        Figure(
            "3 hosts 1 : 1/2 : 1/4, 200 mixed jobs, 20 seeds: median makespan / ideal",
            statistics.median(spans),
            1.03,
        ),
        Figure("    the worst of them", max(spans), 1.03),
        Figure(
            "8 hosts, 1 dead, 1 ten times slower, 1 flapping: worst of 10 seeds",
            min(share),
            95.0,
            at_least=True,
            unit=" %",
        ),
        Figure("    jobs that failed", failed, 0),
        Figure("    requests a job", repeated / 200, 1.1),
    ]


def studio_figures() -> list[Figure]:
    """Measure complete batches of a studio, with journal, folder and learned costs."""
    spans = [span for seed in range(STUDIO_SEEDS) for span in _studio_spans(seed)]
    return [
        Figure(
            f"3 hosts 1 : 1/2 : 1/4, {len(spans)} batches of 200 mixed pictures: worst makespan / ideal",
            max(spans),
            1.03,
        )
    ]


def _studio_spans(seed: int) -> list[float]:
    """Return makespan over ideal for a studio's first batch and for its second, which knows the servers."""
    seconds = 0.0

    def counted(request: ServerRequest) -> float:
        nonlocal seconds
        seconds += picture_seconds(request)
        return picture_seconds(request)

    async def main(folder: str) -> list[float]:
        timer = asyncio.get_running_loop().time
        servers = hosts(1, 0.5, 0.25, seed=seed)
        for server in servers:
            server.work, server.model, server.tells_metrics = counted, MODEL, True
        spans: list[float] = []
        async with Studio(servers, output_dir=folder, timer=timer) as studio:
            for again in range(2):
                began, before = timer(), seconds
                async with await studio.batch(pictures(200, seed=2 * seed + again)) as batch:
                    if len([outcome async for outcome in batch if isinstance(outcome, Done)]) != 200:  # noqa: PLR2004 - as above
                        raise RuntimeError(f"not all images were generated: {batch.progress}")
                spans.append((timer() - began) / ((seconds - before) / 1.75))
        return spans

    with tempfile.TemporaryDirectory() as folder:
        return run(main(folder))


def picture_seconds(request: ServerRequest) -> float:
    """Return an image's time on a server of speed 1, by a formula that no profile has."""
    width, _, height = (request.size or "").partition("x")
    megapixels = int(width) * int(height) / 1e6
    step = 0.02 + 0.1 * megapixels + 0.02 * megapixels**2
    return 0.1 + 0.12 * megapixels + (request.num_inference_steps or 1) * step


def pictures(count: int, *, seed: int) -> list[ImageRequest]:
    """Return requests of several sizes and step counts."""
    draw = random.Random(seed)
    sides = range(512, 1985, 64)
    return [
        ImageRequest(
            prompt="fox",
            seed=1_000 * seed + number,
            width=draw.choice(sides),
            height=draw.choice(sides),
            num_inference_steps=draw.randint(4, 16),
        )
        for number in range(count)
    ]


def flap(server: VirtualServer) -> None:
    """Let a server alternate between ten seconds up and ten seconds down."""
    for start in range(0, 1_000, 20):
        at(start + 10.0, server.go_down)
        at(start + 20.0, server.come_up)


def outage_figures() -> list[Figure]:
    """Measure an outage in which all servers are down for five minutes."""
    extra: list[float] = []
    gaps: list[float] = []
    after: list[float] = []
    unmade = 0
    for seed in SEEDS:
        servers = hosts(1, 1, 1, seed=seed)
        requests = mixed(200, seed)

        def outage(_: Fleet, servers: Sequence[VirtualServer] = servers) -> None:
            for server in servers:
                at(DOWN_AT, server.go_down)
                at(UP_AT, server.come_up)

        done = made(servers, requests, outage)
        unmade += len(requests) - len(done.replies)
        extra.append(sum(server.sent for server in servers) / len(requests))
        after.append(done.seconds - (UP_AT - DOWN_AT) - sum(map(work, requests)) / 3)
        for server in servers:
            probes = [moment for moment in server.probes if DOWN_AT <= moment <= UP_AT]
            gaps += [later - earlier for earlier, later in itertools.pairwise(probes)]
    return [
        Figure("all 3 down for 5 minutes: jobs that were not made", unmade, 0),
        Figure(
            "    shortest time between two probes of a host",
            round(min(gaps), 6),
            PROBE_SECONDS,
            at_least=True,
            unit=" s",
        ),
        Figure("    requests a job", max(extra), 1.1),
        Figure("    seconds lost in addition to the outage", max(after), 15.0, unit=" s"),
    ]


def change_figures() -> list[Figure]:
    """Measure servers that send wrong answers, join and leave."""
    servers = hosts(1, 1, 1, seed=0)
    servers[1].picture = b"<html>"
    done = made(servers, mixed(60, 0))
    figures = [
        Figure("a host answers rubbish: jobs that were not made", 60 - len(done.replies), 0),
        Figure("    requests that it got (3, and one under way meanwhile)", servers[1].sent, 4),
    ]
    servers = hosts(1, 1, 1, seed=0)

    def change(fleet: Fleet) -> None:
        at(10.0, lambda: fleet.join(servers[2]))
        at(20.0, lambda: leaving.append(asyncio.ensure_future(fleet.leave(servers[0].base_url))))

    leaving: list[asyncio.Future[None]] = []
    done = made(servers[:2], mixed(100, 0), change)
    return [
        *figures,
        Figure("a host joins and one leaves: jobs that were not made", 100 - len(done.replies), 0),
        Figure("    pictures of the one that joined", servers[2].made, 30, at_least=True),
        Figure("    requests a job", sum(server.sent for server in servers) / 100, 1.0),
    ]


class NoOp(VirtualServer):
    """A server that answers at once."""

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        """Answer without any work, one turn of the event loop later."""
        del request
        await asyncio.sleep(0)
        return self.reply

    def __post_init__(self) -> None:
        super().__post_init__()
        [request] = equal(1)
        reply = run(VirtualServer(round_trip=0.0, work=lambda _: 0.0).generate_image(request))
        # As a client writes it; the client's time is measured elsewhere.
        receipt = CallReport(requested=request, sent=request, server=self.base_url)
        self.reply = reply.with_receipt(receipt)


async def _requests(count: int) -> AsyncIterator[ImageGenerationRequest]:
    request = equal(1)[0]
    for _ in range(count):
        yield request


async def _no_ops(servers: Sequence[VirtualServer], count: int) -> float:
    """Return the CPU seconds per job, batching and fleet together."""
    for server in servers:
        server.come_up()  # closing a fleet ends what its servers do
    fleet = Fleet(servers, cost=work)

    async def one(request: ImageGenerationRequest) -> ImageGenerationReply:
        return await fleet.generate_image(request, low_priority=True)

    began = time.process_time()
    ended = 0
    async with run_items(one, _requests(count), at_once=16) as batch:
        async for _ in batch:
            ended += 1
    spent = time.process_time() - began
    await fleet.aclose()
    if ended != count:
        raise RuntimeError(f"{ended} of {count} jobs are done")
    return spent / count


def _resident_mib() -> float:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read again and again
        return int(file.read().split()[1]) * 4096 / 2**20


def overhead_figures() -> list[Figure]:
    """Measure what the engine itself costs, in real time, with servers that answer at once."""
    figures: list[Figure] = []
    for count in (1, 3):
        servers = [NoOp(f"http://{number}", round_trip=0.0) for number in range(count)]
        asyncio.run(_no_ops(servers, 2_000))
        before = _resident_mib()
        spent = asyncio.run(_no_ops(servers, NO_OPS))
        grown = _resident_mib() - before
        figures += [
            Figure(f"{NO_OPS:,} no-op jobs on {count} server(s): CPU a job", spent * 1e6, 100.0, unit=" us"),
            Figure("    growth of memory", grown, 20.0, unit=" MiB"),
        ]
    return figures


def schedule_figures(count: int) -> list[Figure]:
    """Play seeded schedules of faults."""
    kinds: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    wrong: list[ScheduleResult] = []
    done = 0
    for seed in range(count):
        played = play(seed)
        kinds.update(played.faults)
        errors.update(type(error).__name__ for error in played.failed.values())
        done += played.done
        if played.wrong:
            wrong.append(played)
    for played in wrong:
        print(f"  seed {played.seed}: {'; '.join(played.wrong)}   (--seed {played.seed} plays it again)")
    print(f"  faults: {_listed(kinds)}")
    print(f"  {done:,} requests succeeded; failed for good: {_listed(errors)}")
    return [Figure(f"{count:,} schedules of faults: schedules with a problem", len(wrong), 0)]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def replay(seed: int) -> int:
    """Play one schedule, print how it ended, and return the exit status."""
    played = play(seed)
    ended = f"{played.done} succeeded, {len(played.failed)} failed"
    print(f"seed {seed}: {ended}, {played.seconds:.1f} s of virtual time")
    print(f"  {played.sent} requests sent; faults: {_listed(Counter(played.faults))}")
    for position, error in sorted(played.failed.items()):
        print(f"  {position:2} {type(error).__name__}: {error} {error.next_step}")
    for sentence in played.wrong:
        print(f"  WRONG: {sentence}")
    return 1 if played.wrong else 0


def main() -> int:
    """Measure, print the figures with their goals, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help=f"number of schedules ({SCHEDULES})")
    parser.add_argument("--seed", type=int, help="play only this schedule of faults")
    options = parser.parse_args()
    logging.disable()  # the servers differ on purpose, and each difference would be logged
    if options.seed is not None:
        return replay(options.seed)
    missed = 0
    for title, measure in (
        ("One server: how many requests it gets", limit_figures),
        ("Several servers", fleet_figures),
        ("Several servers of a studio", studio_figures),
        ("An outage", outage_figures),
        ("Servers that change", change_figures),
        ("The engine itself", overhead_figures),
        ("Faults", lambda: schedule_figures(options.schedules)),
    ):
        print(f"\n{title}")
        for figure in measure():
            print(figure, flush=True)
            missed += not figure.is_met
    print(f"\n{missed} goals were missed" if missed else "\nall goals were met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
