"""Several users share a fleet in proportion to their shares."""

import asyncio
from collections.abc import Mapping

import pytest
from virtual_fleet import fleet_of, jobs, servers
from vllm_image_core.fleet.fair_queue import FairQueue, Flow
from vllm_image_core.testing.virtual_time import run


class Users:
    """Users who each keep some calls waiting, on a server that does a unit of work per second."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.done: dict[str, float] = {}
        self._server = asyncio.Lock()

    async def work(self, flow: Flow, cost: float, *, low_priority: bool = True) -> None:
        async with self.queue.turn(flow, cost, low_priority=low_priority), self._server:
            await asyncio.sleep(cost)
        self.done[flow.name] = self.done.get(flow.name, 0.0) + cost

    async def keep_busy(self, name: str, *, share: float = 1.0, cost: float = 1.0, calls: int = 4) -> None:
        flow = self.queue.flow(name, share=share)

        async def one_after_another() -> None:
            while True:
                await self.work(flow, cost)

        await asyncio.gather(*(one_after_another() for _ in range(calls)))


def work_done_by(
    users: Mapping[str, Mapping[str, float]], *, seconds: float, depth: int = 2
) -> dict[str, float]:
    """Let users with these settings work for some seconds of virtual time."""

    async def main() -> dict[str, float]:
        shared = Users(FairQueue(lambda: depth))
        tasks = [
            asyncio.create_task(
                shared.keep_busy(
                    name,
                    share=each.get("share", 1),
                    cost=each.get("cost", 1),
                    calls=int(each.get("calls", 4)),
                )
            )
            for name, each in users.items()
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (shared.queue.waiting, shared.queue.in_progress) == (0, 0)
        return shared.done

    return run(main())


def test_equal_users_get_equal_work() -> None:
    done = work_done_by({name: {} for name in "abcde"}, seconds=500)
    assert all(work == pytest.approx(100, abs=2) for work in done.values())


def test_a_user_with_many_requests_gets_no_more() -> None:
    done = work_done_by({"batch": {"calls": 50}, "other": {}}, seconds=200)
    assert done["batch"] == pytest.approx(done["other"], abs=2)


def test_the_cost_counts_and_not_the_number_of_calls() -> None:
    done = work_done_by({"large": {"cost": 10}, "small": {"cost": 1}}, seconds=1_000)
    assert done["large"] == pytest.approx(done["small"], rel=0.05)


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_work_is_shared_by_weight(depth: int) -> None:
    users = {"one": {"share": 1}, "two": {"share": 2}, "five": {"share": 5}}
    done = work_done_by(
        {name: {**each, "calls": 10} for name, each in users.items()}, seconds=800, depth=depth
    )
    assert done["one"] == pytest.approx(100, rel=0.1)
    assert done["two"] == pytest.approx(200, rel=0.1)
    assert done["five"] == pytest.approx(500, rel=0.1)


def test_the_fleet_is_never_left_idle() -> None:
    done = work_done_by({"alone": {"share": 0.1}}, seconds=100)
    assert done["alone"] >= 99


def test_nobody_saves_up_a_claim_while_idle() -> None:
    async def main() -> dict[str, float]:
        shared = Users(FairQueue(lambda: 1))
        early = asyncio.create_task(shared.keep_busy("early"))
        await asyncio.sleep(100)
        late = asyncio.create_task(shared.keep_busy("late"))
        before = dict(shared.done)
        await asyncio.sleep(100)
        for task in (early, late):
            task.cancel()
        await asyncio.gather(early, late, return_exceptions=True)
        return {name: work - before.get(name, 0) for name, work in shared.done.items()}

    done = run(main())
    assert done["late"] == pytest.approx(done["early"], abs=3)


def test_time_used_while_nobody_waited_is_not_owed() -> None:
    async def main() -> dict[str, float]:
        shared = Users(FairQueue(lambda: 1))
        for _ in range(50):
            await shared.work(shared.queue.flow("early"), 1)
        shared.done.clear()
        tasks = [asyncio.create_task(shared.keep_busy(name)) for name in ("early", "late")]
        await asyncio.sleep(20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return shared.done

    done = run(main())
    assert done["early"] == pytest.approx(done["late"], abs=2)


def test_a_single_image_goes_before_a_batch_of_the_same_user() -> None:
    async def main() -> list[str]:
        queue = FairQueue(lambda: 1)
        flow, order = queue.flow("a"), list[str]()

        async def call(label: str, *, low_priority: bool) -> None:
            async with queue.turn(flow, 1, low_priority=low_priority):
                order.append(label)
                await asyncio.sleep(1)

        batch = [asyncio.create_task(call("batch", low_priority=True)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await call("single", low_priority=False)
        await asyncio.gather(*batch)
        return order

    assert run(main()) == ["batch", "single", "batch", "batch"]


def test_a_call_that_is_cancelled_leaves_no_trace() -> None:
    async def main() -> tuple[int, int]:
        queue = FairQueue(lambda: 1)
        flow = queue.flow("a")

        async def call() -> None:
            async with queue.turn(flow, 1, low_priority=True):
                await asyncio.sleep(10)

        calls = [asyncio.create_task(call()) for _ in range(5)]
        await asyncio.sleep(1)
        for each in reversed(calls):
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        return queue.waiting, queue.in_progress

    assert run(main()) == (0, 0)


def test_users_of_one_fleet_share_its_servers_and_close_nothing() -> None:
    members = servers(1, 1)

    async def main() -> tuple[int, bool]:
        fleet = fleet_of(members)
        anna, bert = fleet.shared_by("anna"), fleet.shared_by("bert", share=2)
        requests = jobs(20, sizes=[1.0])
        half = len(requests) // 2
        await asyncio.gather(*map(anna.generate_image, requests[:half]))
        await anna.aclose()
        await asyncio.gather(*map(bert.generate_image, requests[half:]))
        return sum(member.made for member in members), anna.queue is bert.queue

    assert run(main()) == (20, True)


def test_as_many_calls_of_each_user_wait_as_a_shared_fleet_runs() -> None:
    async def main() -> tuple[int, int]:
        fleet = fleet_of(servers(1))
        return fleet.shared_by("anna").window, fleet.window

    shared, alone = run(main())
    assert shared == 2 * alone
