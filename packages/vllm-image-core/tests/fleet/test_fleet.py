"""Several servers as one backend."""

import asyncio
from collections.abc import Callable

import pytest
from virtual_batch import VirtualBatch
from virtual_fleet import at, batch, fleet_of, jobs, servers, work
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.errors import ServerBusy
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest


def test_servers_join_and_leave_while_a_batch_runs() -> None:
    first, second, third = servers(1, 1, 1)

    async def main() -> tuple[VirtualBatch, Fleet]:
        fleet = fleet_of([first, second])
        at(10.0, lambda: fleet.join(third))
        leaving = asyncio.create_task(_later(20.0, lambda: fleet.leave("http://a")))
        done = await VirtualBatch(fleet).run(jobs(100))
        await leaving
        return done, fleet

    done, fleet = run(main())

    assert (len(done.replies), done.errors) == (100, {})
    assert third.made > 20
    assert first.closed
    assert [member.url for member in fleet.members] == ["http://b", "http://c"]
    assert sum(server.sent for server in (first, second, third)) == 100


async def _later(seconds: float, do: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    await do()  # type: ignore[misc]  # a coroutine function


def test_each_image_says_which_server_generated_it() -> None:
    members = servers(1, 1)
    done = batch(members, jobs(20))
    made = [reply.receipt.server for reply in done.replies.values() if reply.receipt]
    assert {url: made.count(url) for url in made} == {server.base_url: server.made for server in members}


def test_errors_of_a_single_server_pass_through_unchanged() -> None:
    refusal = ServerBusy("busy", status=503)

    class Busy(VirtualServer):
        async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
            raise refusal

    async def main() -> None:
        await fleet_of([Busy()]).generate_image(jobs(1)[0])

    with pytest.raises(ServerBusy) as caught:
        run(main())
    assert caught.value is refusal


def test_a_single_server_gets_no_requests_but_those_of_the_caller() -> None:
    server = VirtualServer()

    async def main() -> float:
        fleet = fleet_of([server])
        await asyncio.gather(*(fleet.generate_image(request) for request in jobs(5)))
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(5.05)
    assert (server.sent, server.most_in_progress, server.probes) == (5, 5, [])


def test_a_fleet_outlives_the_event_loop_that_it_was_used_in() -> None:
    members = servers(1, 1)
    fleet = Fleet(members, cost=work)

    async def interrupted() -> None:
        async with asyncio.timeout(0.5):
            await asyncio.gather(*(fleet.generate_image(each, low_priority=True) for each in jobs(9)))

    async def whole() -> int:
        return len(await asyncio.gather(*(fleet.generate_image(each) for each in jobs(9))))

    with pytest.raises(TimeoutError):
        run(interrupted())
    for server in members:
        server.__post_init__()  # a real server knows nothing of our event loops
    assert run(whole()) == 9


def test_the_counters_of_all_servers_are_added_up() -> None:
    members = servers(1, 1, tells_metrics=True)

    async def main() -> tuple[int | None, int | None]:
        fleet = fleet_of(members)
        calls = [asyncio.create_task(fleet.generate_image(each)) for each in jobs(4, sizes=[1.0])]
        await asyncio.sleep(0.5)
        told = await fleet.get_metrics()
        await asyncio.gather(*calls)
        return told.requests_running, told.requests_waiting

    assert run(main()) == (2, 2)
