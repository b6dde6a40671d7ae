"""A call goes from server to server until one answers or no other could."""

import asyncio
import itertools

import pytest
from virtual_fleet import at, batch, fleet_of, ideal, jobs, rubbish, servers
from vllm_image_core.errors import PoisonRequest
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.errors import (
    BadReply,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerUnreachable,
)
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest


def test_s01_without_a_dead_server_the_others_do_the_work_and_no_job_fails() -> None:
    members = servers(1, 1, 1, 1)
    requests = jobs(200)
    sent: list[int] = []

    def die() -> None:
        sent.append(members[0].sent)
        members[0].go_down()

    done = batch(members, requests, lambda _: at(5.0, die))

    assert (len(done.replies), done.errors) == (200, {})
    assert [members[0].sent] == sent
    assert len(members[0].probes) > 1
    assert done.seconds <= ideal(requests, 1, 1, 1) / 0.95
    assert sum(server.sent for server in members) <= 1.1 * 200


def test_s02_a_batch_waits_five_minutes_for_all_servers_and_finishes() -> None:
    members = servers(1, 1, 1)

    def outage(_: Fleet) -> None:
        for server in members:
            at(10.0, server.go_down)
            at(310.0, server.come_up)

    done = batch(members, jobs(100), outage)

    assert (len(done.replies), done.errors) == (100, {})
    assert 310.0 < done.seconds < 310.0 + 60.0
    assert sum(server.sent for server in members) <= 1.1 * 100
    for server in members:
        probes = [moment for moment in server.probes if 10.0 <= moment <= 310.0]
        gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
        assert len(probes) > 30
        assert min(gaps) >= PROBE_SECONDS - 1e-6


def test_s08_a_request_that_killed_two_engines_is_set_aside_and_the_rest_is_generated() -> None:
    members = servers(1, 1, 1)

    def poison(request: ServerRequest, _: int) -> str | None:
        return "dead" if request.seed == 7 else None

    for server in members:
        server.fault = poison

    done = batch(members, jobs(60))

    [error] = done.errors.values()
    assert isinstance(error, PoisonRequest)
    assert (error.attempts, error.generations) == (2, 2)
    assert len(done.replies) == 59
    assert sorted(server.engine_alive for server in members) == [False, False, True]


def test_s08_a_request_that_kills_the_same_engine_twice_is_set_aside_too() -> None:
    members = servers(1, 1, restart=10.0)
    members[0].fault = lambda request, _: "dead" if request.seed == 7 else None
    members[1].is_up = False

    done = batch(members, jobs(20))

    assert [type(error) for error in done.errors.values()] == [PoisonRequest]
    assert len(done.replies) == 19


def test_another_server_runs_a_request_that_one_has_failed() -> None:
    members = servers(1, 1)
    members[0].fault = lambda _, number: "error" if number == 1 else None
    members[1].fault = lambda _, number: "lost" if number == 1 else None

    done = batch(members, jobs(10))

    assert (len(done.replies), done.errors) == (10, {})


@pytest.mark.parametrize(
    ("fault", "kind", "sent"), [("error", ServerError, 2), ("memory", OutOfGpuMemory, 1)]
)
def test_an_error_that_blames_the_request_is_not_held_against_the_servers(
    fault: str, kind: type[OmniError], sent: int
) -> None:
    members = servers(1, 1)
    for server in members:
        server.fault = lambda request, _: fault if request.seed is not None and request.seed % 2 else None

    done = batch(members, jobs(40))

    assert len(done.replies) == 20
    assert {type(error) for error in done.errors.values()} == {kind}
    assert sum(server.sent for server in members) == 20 + sent * 20


def test_a_request_without_a_seed_is_not_sent_again_once_it_may_have_cost_gpu_time() -> None:
    members = servers(1, 1)
    for server in members:
        server.fault = rubbish

    async def main() -> None:
        await fleet_of(members).generate_image(ImageGenerationRequest(prompt="fox"))

    with pytest.raises(BadReply):
        run(main())
    assert sum(server.sent for server in members) == 1


def test_if_all_servers_are_down_the_last_error_is_raised_at_once_and_none_is_probed_for_five_seconds() -> (
    None
):
    members = servers(1, 1)
    for server in members:
        server.go_down()

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        fleet = fleet_of(members)
        moments: list[float] = []
        for _ in range(3):
            with pytest.raises(ServerUnreachable, match=r"http://[ab] cannot be reached"):
                await fleet.generate_image(jobs(1)[0])
            moments.append(loop.time())
        return moments

    assert run(main())[-1] < 1.0
    assert [len(server.probes) for server in members] == [0, 0]


class Patient(VirtualServer):
    """Asks for a wait with each refusal; answers from `free_at` on."""

    def __init__(self, name: str, *, wait: float, free_at: float = float("inf")) -> None:
        super().__init__(name)
        self.wait = wait
        self.free_at = free_at
        self.refused = 0

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        if asyncio.get_running_loop().time() < self.free_at:
            self.refused += 1
            raise ServerBusy("busy", status=429, retry_after_seconds=self.wait)
        return await super().generate_image(request)


def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    members = [Patient(f"http://{name}", wait=90.0, free_at=89.0) for name in "ab"]

    async def main() -> float:
        await fleet_of(members).generate_image(jobs(1)[0])
        return asyncio.get_running_loop().time()

    assert 90 <= run(main()) < 95
    assert [each.refused for each in members] == [1, 1]


class Limited(Patient):
    """A client with a time limit of 60 s, of which an image has used 10 when it is refused."""

    def with_budget(self, budget: GenerationBudget) -> "Limited":
        budget.record_time(10.0, timeout=60.0)
        return self


def test_a_call_does_not_wait_longer_than_its_image_has_time_left() -> None:
    members = [Limited(f"http://{name}", wait=51.0) for name in "ab"]

    async def refused() -> float:
        with pytest.raises(ServerBusy):
            await fleet_of(members).generate_image(jobs(1)[0])
        return asyncio.get_running_loop().time()

    assert run(refused()) < 50


@pytest.mark.parametrize("low_priority", [False, True])
@pytest.mark.parametrize("wait", [121.0, 1e9])
def test_a_call_does_not_wait_if_every_server_asks_for_too_long(wait: float, low_priority: bool) -> None:  # noqa: FBT001  # a parameter of the test
    members = [Patient(f"http://{name}", wait=wait) for name in "abc"]

    async def main() -> float:
        with pytest.raises(ServerBusy):
            await fleet_of(members).generate_image(jobs(1)[0], low_priority=low_priority)
        return asyncio.get_running_loop().time()

    assert run(main()) < 1
    assert [each.refused for each in members] == [1, 1, 1]


def test_a_server_that_asks_for_too_long_a_pause_does_not_end_a_call_that_another_accepts() -> None:
    members = [Patient("http://a", wait=1e9), VirtualServer("http://b", speed=0.01)]

    async def main() -> None:
        await fleet_of(members).generate_image(jobs(1)[0])

    run(main())
    assert members[1].sent == 1
