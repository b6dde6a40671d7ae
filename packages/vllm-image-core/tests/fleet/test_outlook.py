"""When the servers of a fleet will be free, and when all but one of them would have done some work."""

import math
import random
from collections.abc import Sequence

import pytest
from vllm_image_core.fleet.outlook import Outlooks, ServerOutlook
from vllm_image_core.fleet.server import FleetCall, Server
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_omni_client.models import ModelCard, ModelList

NOW = 100.0


def call(work: float) -> FleetCall:
    return FleetCall(work=work, model=None, low_priority=True, repeatable=True)


def pool_of(busy: Sequence[Sequence[float]], models: Sequence[str] | None = None) -> ServerPool:
    """Servers with these calls in progress, which take a second for each unit of work."""
    pool = ServerPool([VirtualServer(f"http://gpu{place}") for place in range(len(busy))], parallel=1)
    for place, (member, works) in enumerate(zip(pool.members, busy, strict=True)):
        model = models[place] if models else "m"
        member.set_models(ModelList(data=(ModelCard(id=model),)), None)
        member.service_rate.expect(1.0)
        for work in works:
            member.record_sent(call(work), NOW, 1.0)
    return pool


def end_of(others: Sequence[ServerOutlook], work: float) -> float:
    """The time at which the others are done, found by trying how many of them take part."""
    order = sorted(others, key=lambda outlook: outlook.wait)
    ends = [math.inf]
    for count in range(1, len(order) + 1):
        speeds = [1 / each.seconds_per_work for each in order[:count]]
        done = sum(each.wait * speed for each, speed in zip(order, speeds, strict=False))
        ends.append((work + done) / sum(speeds))
    return min(ends)


def test_a_server_is_free_when_its_calls_have_ended() -> None:
    pool = pool_of([[], [3.0], [3.0, 2.0]])

    outlooks = Outlooks(pool, NOW)

    assert [outlooks[member].wait for member in pool.members] == [0.0, 3.0, 5.0]
    assert [outlooks[member].ends(2.0) for member in outlooks] == [2.0, 5.0, 7.0]


def test_the_others_share_the_work_as_soon_as_they_are_free() -> None:
    pool = pool_of([[], [1.0], [9.0], []])
    first, second, third, _ = pool.members

    outlooks = Outlooks(pool, NOW)

    assert outlooks.others_end(first, 3.0) == pytest.approx(2.0)  # 2 s of one, 1 s of the other
    assert outlooks.others_end(second, 3.0) == pytest.approx(1.5)
    assert outlooks.others_end(third, 3.0) == pytest.approx(4 / 3)  # as without it: it takes no part


def test_a_server_without_others_waits_for_nobody() -> None:
    pool = pool_of([[], []], ["one", "another"])

    outlooks = Outlooks(pool, NOW)

    assert [outlooks.others_end(member, 1.0) for member in pool.members] == [math.inf, math.inf]


def test_the_end_for_any_servers_matches_the_definition() -> None:
    draw = random.Random(1)
    for _ in range(50):
        pool = pool_of([[draw.uniform(0, 9)] * draw.randrange(3) for _ in range(draw.randrange(2, 12))])
        for member in pool.members:
            member.service_rate.expect(draw.uniform(0.5, 4))
        work = draw.uniform(0, 20)

        outlooks = Outlooks(pool, NOW)

        for member in pool.members:
            others = [outlooks[each] for each in pool.members if each is not member]
            assert outlooks.others_end(member, work) == pytest.approx(end_of(others, work))


def test_a_server_that_may_not_help_would_get_no_call() -> None:
    draw = random.Random(2)
    useless = 0
    for _ in range(50):
        pool = pool_of([[draw.uniform(0, 9)] * draw.randrange(3) for _ in range(draw.randrange(2, 12))])
        for member in pool.members:
            member.service_rate.expect(draw.uniform(0.5, 4))
        work, least = draw.uniform(5, 20), draw.uniform(0.1, 5)

        outlooks = Outlooks(pool, NOW)

        for member in pool.members:
            if not outlooks.may_help(member, work, least):
                useless += 1
                assert outlooks[member].ends(least) > outlooks.others_end(member, work)
                for some in (least, work, 100.0):
                    assert outlooks[member].ends(some) > outlooks.soonest_end(call(some))
    assert useless > 50


def test_the_soonest_end_is_that_of_a_server_that_may_run_the_call() -> None:
    pool = pool_of([[], [1.0], [5.0]])
    free, _, _ = pool.members
    refused = call(2.0)
    refused.avoided.add(free)

    outlooks = Outlooks(pool, NOW)

    assert outlooks.soonest_end(call(2.0)) == 2.0
    assert outlooks.soonest_end(refused) == 3.0
    assert outlooks.soonest_end(FleetCall(2.0, "unknown", low_priority=True, repeatable=True)) == math.inf


def test_a_server_that_got_a_call_is_looked_at_again() -> None:
    pool = pool_of([[], [4.0]])
    free: Server = pool.members[0]
    outlooks = Outlooks(pool, NOW)
    assert outlooks.soonest_end(call(1.0)) == 1.0

    free.record_sent(call(3.0), NOW, 1.0)
    outlooks.update(free)

    assert outlooks[free].wait == 3.0
    assert outlooks.soonest_end(call(1.0)) == 4.0
