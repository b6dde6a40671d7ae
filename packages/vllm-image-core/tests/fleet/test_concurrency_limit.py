import asyncio
import statistics

import pytest
from vllm_image_core.fleet.concurrency_limit import FIRST_ALONE, ConcurrencyLimiter
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.models import ImageGenerationRequest


def made(
    server: VirtualServer, jobs: int, parallel: int | None = None, ceiling: int | None = None
) -> tuple[float, Fleet]:
    """Run some jobs, as many at once as the fleet wants; return the seconds and the fleet."""

    async def main() -> tuple[float, Fleet]:
        loop = asyncio.get_running_loop()
        fleet = Fleet([server], cost=lambda _: 1.0, parallel=parallel, ceiling=ceiling, clock=loop.time)
        open_calls: set[asyncio.Task[object]] = set()
        for seed in range(jobs):
            request = ImageGenerationRequest(prompt="fox", seed=seed)
            while len(open_calls) >= fleet.window:
                _, open_calls = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
            open_calls.add(asyncio.create_task(fleet.generate_image(request, low_priority=True)))
        await asyncio.wait(open_calls)
        return loop.time(), fleet

    return run(main())


@pytest.mark.parametrize("parallel", [1, 4, 16, 32])
def test_the_parallelism_of_a_server_is_found_from_its_throughput(parallel: int) -> None:
    server = VirtualServer(parallel=parallel, noise=0.05, most_waiting=8)
    seconds, _ = made(server, 500)
    assert seconds / (500 / parallel) <= 1.10
    assert statistics.mean(server.latencies) <= 3
    assert server.busy <= 10


@pytest.mark.parametrize("parallel", [5, 8, 16])
def test_it_is_found_even_if_replies_come_in_waves(parallel: int) -> None:
    server = VirtualServer(parallel=parallel, noise=0.0)
    seconds, _ = made(server, 500)
    assert seconds / (500 / parallel) <= 1.10
    assert statistics.mean(server.latencies) <= 3


@pytest.mark.parametrize("seed", range(8))
def test_it_is_found_even_if_image_times_differ_by_a_tenth(seed: int) -> None:
    server = VirtualServer(parallel=16, noise=0.1, seed=seed)
    seconds, _ = made(server, 500)
    assert seconds / (500 / 16) <= 1.10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("parallel", [4, 8, 16, 32])
def test_it_is_found_even_if_image_times_differ_by_a_fifth(parallel: int, seed: int) -> None:
    server = VirtualServer(parallel=parallel, noise=0.2, seed=seed)
    seconds, _ = made(server, 500)
    assert seconds / (500 / parallel) <= 1.12


def test_a_request_that_a_working_server_refused_is_sent_again_when_it_has_room() -> None:
    server = VirtualServer(parallel=2, most_waiting=2)
    seconds, fleet = made(server, 100)
    assert server.busy > 0
    assert server.made == 100
    assert fleet.members[0].failed == 0
    assert seconds <= 1.05 * 100 / 2


def test_single_requests_do_not_show_the_parallelism_of_a_server() -> None:
    limit = ConcurrencyLimiter()
    limit.set_parallel(4)
    for second in range(400):
        limit.record_answered(limit.record_sent(float(second)), second + 0.9)
        assert limit.value == 5


def test_the_limit_is_not_lowered_if_all_that_the_ceiling_allows_were_needed() -> None:
    seconds, _ = made(VirtualServer(parallel=16, noise=0.05, round_trip=0.0), 400, ceiling=4)
    assert seconds <= 1.02 * 100


@pytest.mark.parametrize("parallel", [1, 4, 16])
def test_a_known_parallelism_is_used_from_the_start(parallel: int) -> None:
    seconds, _ = made(VirtualServer(parallel=parallel, noise=0.05), 2_000, parallel=parallel)
    assert seconds / (2_000 / parallel) <= 1.02


def test_one_runs_and_one_waits_if_more_bring_nothing() -> None:
    server = VirtualServer()
    _, fleet = made(server, 100)
    assert server.most_in_progress == FIRST_ALONE
    assert fleet.members[0].limit <= 3


def test_the_ceiling_is_never_exceeded() -> None:
    server = VirtualServer(parallel=16)
    seconds, fleet = made(server, 200, ceiling=3)
    assert server.most_in_progress == 3
    assert fleet.window <= 3
    assert seconds <= 1.1 * 200 / 3


def test_what_the_server_reports_about_itself_is_used() -> None:
    server = VirtualServer(parallel=4, tells_metrics=True, noise=0.05)
    _, fleet = made(server, 60)
    assert fleet.members[0].limit == 5


def test_a_slow_first_image_does_not_raise_the_limit() -> None:
    server = VirtualServer(work=lambda request: 20.0 if request.seed == 0 else 1.0, noise=0.05)
    made(server, 200)
    assert server.most_in_progress <= 1.25 * FIRST_ALONE


def test_a_server_that_accepts_no_more_gets_no_more() -> None:
    limit = ConcurrencyLimiter()
    limit.set_parallel(8)
    sent = [limit.record_sent(0.0) for _ in range(10)]
    for _ in range(4):
        limit.record_refused()
    assert limit.value == 6
    assert not limit.has_room
    limit.record_answered(sent[0], 1.0)
    assert limit.has_room


def test_at_least_one_request_is_always_allowed() -> None:
    limit = ConcurrencyLimiter()
    limit.record_sent(0.0)
    limit.record_refused()
    assert limit.value == 1
