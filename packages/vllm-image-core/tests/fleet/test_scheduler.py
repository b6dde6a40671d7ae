"""Which server gets which call, and when."""

import asyncio
from typing import Any

import pytest
from virtual_batch import VirtualBatch
from virtual_fleet import batch, busy, fleet_of, ideal, jobs, servers, work
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.scheduler import CallQueue
from vllm_image_core.fleet.server import FleetCall
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.models import ImageGenerationReply


def test_three_hosts_of_different_speed_finish_almost_at_once() -> None:
    requests = jobs(200)
    done = batch(servers(1, 0.5, 0.25), requests)
    assert len(done.replies) == 200
    assert done.seconds <= 1.03 * ideal(requests, 1, 0.5, 0.25)


def test_twenty_jobs_are_not_stranded_on_the_slowest() -> None:
    requests = jobs(20)
    done = batch(servers(1, 0.5, 0.25), requests)
    assert done.seconds <= 1.1 * ideal(requests, 1, 0.5, 0.25)


def test_s03_a_server_ten_times_slower_gets_little_and_ends_with_the_others() -> None:
    members = servers(1, 1, 0.1)
    requests = jobs(200)

    done = batch(members, requests)

    assert members[2].made <= 200 / 10
    assert done.seconds <= 1.03 * ideal(requests, 1, 1, 0.1)


def test_s03_an_untested_server_does_not_get_the_longest_jobs() -> None:
    members = servers(1, 1, 0.1)
    done = batch(members, jobs(30))
    assert len(done.replies) == 30
    assert done.seconds <= 18.0


def test_with_many_servers_few_are_considered_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    find_best = CallQueue.best

    def best(queue: CallQueue, longest: float, *rest: Any, **untried: bool) -> FleetCall | None:  # noqa: ANN401 - passed on
        asked.append(longest)
        return find_best(queue, longest, *rest, **untried)

    monkeypatch.setattr(CallQueue, "best", best)
    members = [
        VirtualServer(f"http://gpu{number}", work=work, noise=0.1, seed=number) for number in range(40)
    ]

    async def main() -> None:
        fleet = Fleet(members, cost=work, parallel=1, ceiling=2, clock=asyncio.get_running_loop().time)
        await VirtualBatch(fleet).run(jobs(400, sizes=[1.0]))

    run(main())

    assert len(asked) < 5 * 400


def test_interactive_calls_go_before_batches() -> None:
    members = servers(1, 1)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        fleet = fleet_of(members)
        running = asyncio.create_task(VirtualBatch(fleet).run(jobs(100, sizes=[1.0])))
        await asyncio.sleep(20.5)
        began = loop.time()
        await fleet.generate_image(jobs(1, sizes=[1.0])[0])
        waited = loop.time() - began
        await running
        return waited

    assert run(main()) < 4.0


def test_a_call_that_is_cancelled_leaves_no_trace() -> None:
    members = servers(1, 1)

    async def main() -> tuple[int, ...]:
        fleet = fleet_of(members)
        calls = [asyncio.create_task(fleet.generate_image(each, low_priority=True)) for each in jobs(20)]
        await asyncio.sleep(1.0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert len((await VirtualBatch(fleet).run(jobs(5))).replies) == 5
        return tuple(member.in_progress for member in fleet.members)

    assert run(main()) == (0, 0)


@pytest.mark.parametrize("turns", range(8))
def test_a_call_that_is_cancelled_at_any_moment_gives_its_place_back(turns: int) -> None:
    members = servers(1, 1, round_trip=0.0)

    async def main() -> tuple[int, ...]:
        fleet = fleet_of(members)
        await fleet.get_models()
        calls = [asyncio.create_task(fleet.generate_image(each, low_priority=True)) for each in jobs(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        return tuple(member.in_progress for member in fleet.members)

    assert run(main()) == (0, 0)


def test_a_paused_server_is_not_waited_for_while_another_is_free() -> None:
    members = servers(1, 0.8)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        fleet = fleet_of(members)
        await VirtualBatch(fleet).run(jobs(10, sizes=[1.0]))
        members[0].fault = busy  # it asks to be left alone for a second
        members[0].work = lambda _: 0.1
        began = loop.time()
        await fleet.generate_image(jobs(1, sizes=[1.0])[0])
        return loop.time() - began

    assert run(main()) < 2.2
    assert members[0].sent < 10


@pytest.mark.parametrize(
    ("learned", "by_the_slow_one"), [(None, 2), ({"http://a": 10.0, "http://b": 1.0}, 0)]
)
def test_a_server_known_to_be_slow_gets_nothing_that_another_would_finish_sooner(
    learned: dict[str, float] | None, by_the_slow_one: int
) -> None:
    members = servers(0.1, 1)

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        fleet = Fleet(members, cost=work, learned=learned.get if learned else None, clock=clock)
        await asyncio.gather(
            *(fleet.generate_image(each, low_priority=True) for each in jobs(4, sizes=[1.0]))
        )

    run(main())
    assert members[0].made == by_the_slow_one


@pytest.mark.parametrize("joined", [False, True])
def test_a_call_that_comes_while_the_servers_are_first_asked_waits_for_their_answer(*, joined: bool) -> None:
    members = servers(1, 1)

    async def main() -> list[str]:
        fleet = fleet_of(members[: 1 if joined else 2])
        if joined:
            await fleet.generate_image(jobs(1)[0])
            fleet.join(members[1])
        calls: list[asyncio.Task[ImageGenerationReply]] = []
        for request in jobs(3):
            calls.append(asyncio.create_task(fleet.generate_image(request)))
            await asyncio.sleep(members[0].round_trip / 4)
        replies = await asyncio.gather(*calls)
        return [reply.receipt.server for reply in replies if reply.receipt]

    assert set(run(main())) == {"http://a", "http://b"}
