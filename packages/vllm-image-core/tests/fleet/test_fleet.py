import asyncio
import itertools
import random
from collections.abc import Callable, Sequence

import pytest
from vllm_image_core.errors import InvalidRequest, PoisonRequest
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.server import FleetCall
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.errors import (
    BadReply,
    BadRequest,
    Exchange,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerError,
    ServerUnreachable,
)
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

SIZES = (0.3, 0.6, 1.0, 1.0, 2.0, 3.0)


def work(request: ServerRequest) -> float:
    """A double's own measure: its seconds are in the field for guidance."""
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


def ideal(requests: Sequence[ImageGenerationRequest], *speeds: float) -> float:
    return sum(map(work, requests)) / sum(speeds)


def busy(_request: ServerRequest, _number: int) -> str:
    return "busy"


def error(_request: ServerRequest, _number: int) -> str:
    return "error"


def rubbish(_request: ServerRequest, _number: int) -> str:
    return "bad_reply"


class Batch:
    """A batch as the studio runs it: so many calls open as the fleet wants; in an outage it waits."""

    def __init__(self, fleet: Fleet, requests: Sequence[ImageGenerationRequest]) -> None:
        self.fleet = fleet
        self.waiting = list(reversed(requests))
        self.replies: list[ImageGenerationReply] = []
        self.errors: list[BaseException] = []
        self.open: dict[asyncio.Task[ImageGenerationReply], ImageGenerationRequest] = {}
        self.seconds = 0.0

    async def made(self) -> "Batch":
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.waiting or self.open:
            while self.waiting and len(self.open) < self.fleet.window:
                request = self.waiting.pop()
                task = asyncio.create_task(self.fleet.generate_image(request, low_priority=True))
                self.open[task] = request
            ended, _ = await asyncio.wait(self.open, return_when=asyncio.FIRST_COMPLETED)
            if sum(self._took(task) for task in ended):
                await self._pause()
        self.seconds = loop.time() - began
        return self

    def _took(self, task: asyncio.Task[ImageGenerationReply]) -> bool:
        """Take in how a call ended; says whether it was an outage."""
        request = self.open.pop(task)
        match task.exception():
            case None:
                self.replies.append(task.result())
            case ServerUnreachable() | ServerBusy():
                self.waiting.append(request)
                return True
            case BaseException() as error:
                self.errors.append(error)
        return False

    async def _pause(self) -> None:
        if self.open:
            for task in (await asyncio.wait(self.open))[0]:
                self._took(task)
        while True:
            try:
                if await self.fleet.health_check():
                    return
            except OmniError:
                await asyncio.sleep(PROBE_SECONDS)


def fleet_of(members: Sequence[VirtualServer]) -> Fleet:
    return Fleet(members, cost=work, clock=asyncio.get_running_loop().time)


def batch(
    members: Sequence[VirtualServer],
    requests: Sequence[ImageGenerationRequest],
    meanwhile: Callable[[Fleet], object] | None = None,
) -> Batch:
    async def main() -> Batch:
        fleet = fleet_of(members)
        if meanwhile is not None:
            meanwhile(fleet)
        async with asyncio.timeout(3_600):
            return await Batch(fleet, requests).made()

    return run(main())


def at(seconds: float, change: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_later(seconds, change)


def test_three_hosts_of_different_speed_are_done_almost_at_once() -> None:
    requests = jobs(200)
    done = batch(servers(1, 0.5, 0.25), requests)
    assert len(done.replies) == 200
    assert done.seconds <= 1.03 * ideal(requests, 1, 0.5, 0.25)


def test_twenty_jobs_are_not_stranded_on_the_slowest() -> None:
    requests = jobs(20)
    done = batch(servers(1, 0.5, 0.25), requests)
    assert done.seconds <= 1.1 * ideal(requests, 1, 0.5, 0.25)


def test_s01_without_a_dead_server_the_others_do_the_work_and_no_job_fails() -> None:
    members = servers(1, 1, 1, 1)
    requests = jobs(200)
    sent: list[int] = []

    def die() -> None:
        sent.append(members[0].sent)
        members[0].go_down()

    done = batch(members, requests, lambda _: at(5.0, die))

    assert (len(done.replies), done.errors) == (200, [])
    assert [members[0].sent] == sent
    assert len(members[0].probes) > 1
    assert done.seconds <= ideal(requests, 1, 1, 1) / 0.95
    assert sum(server.sent for server in members) <= 1.1 * 200


def test_s02_when_all_are_down_for_five_minutes_the_batch_waits_and_ends_well() -> None:
    members = servers(1, 1, 1)

    def outage(_: Fleet) -> None:
        for server in members:
            at(10.0, server.go_down)
            at(310.0, server.come_up)

    done = batch(members, jobs(100), outage)

    assert (len(done.replies), done.errors) == (100, [])
    assert 310.0 < done.seconds < 310.0 + 60.0
    assert sum(server.sent for server in members) <= 1.1 * 100
    for server in members:
        probes = [moment for moment in server.probes if 10.0 <= moment <= 310.0]
        gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
        assert len(probes) > 30
        assert min(gaps) >= PROBE_SECONDS - 1e-6


def test_s03_a_server_ten_times_slower_gets_little_and_ends_with_the_others() -> None:
    members = servers(1, 1, 0.1)
    requests = jobs(200)

    done = batch(members, requests)

    assert members[2].made <= 200 / 10
    assert done.seconds <= 1.03 * ideal(requests, 1, 1, 0.1)


def test_s03_nobody_gives_its_longest_jobs_to_a_server_that_was_never_seen_at_work() -> None:
    members = servers(1, 1, 0.1)
    done = batch(members, jobs(30))
    assert len(done.replies) == 30
    assert done.seconds <= 18.0


def test_s04_a_flapping_server_is_left_out_for_longer_each_time_and_causes_no_storm() -> None:
    members = servers(1, 1, 1)
    flapping = members[2]
    sent: list[int] = []

    def flap(_: Fleet) -> None:
        for start in range(0, 2_000, 20):
            at(start + 10.0, flapping.go_down)
            at(start + 20.0, flapping.come_up)
        for times in range(3):
            at(150.0 * times, lambda: sent.append(flapping.sent))

    done = batch(members, jobs(800), flap)

    assert (len(done.replies), done.errors) == (800, [])
    assert sum(server.sent for server in members) <= 1.1 * 800
    assert sent[1] - sent[0] > 2 * (sent[2] - sent[1])


def test_s05_a_request_goes_to_the_servers_that_have_its_model() -> None:
    members = servers(1, 1, 1)
    members[1].model = "another"

    done = batch(members, jobs(30, model="model"))

    assert (len(done.replies), done.errors) == (30, [])
    assert [server.made > 0 for server in members] == [True, False, True]


def test_s05_a_model_that_no_server_has_is_refused_with_what_they_serve() -> None:
    members = servers(1, 1)
    members[1].model = "another"

    async def main() -> None:
        await fleet_of(members).generate_image(jobs(1, model="third")[0])

    with pytest.raises(BadRequest, match=r"third.*http://a: model, http://b: another") as caught:
        run(main())
    assert caught.value.next_step
    assert [server.sent for server in members] == [0, 0]


@pytest.mark.parametrize("slow_to_answer", [0, 1, 2])
def test_s05_it_is_told_when_a_server_has_another_model_or_another_version(
    caplog: pytest.LogCaptureFixture, slow_to_answer: int
) -> None:
    members = servers(1, 1, 1)
    members[slow_to_answer].round_trip = 0.5
    members[1].model = "another"
    members[2].version = "0.26.0"

    async def main() -> Fleet:
        fleet = fleet_of(members)
        await fleet.get_models()
        return fleet

    fleet = run(main())

    assert [member.note.partition(" ")[0] for member in fleet.members] == ["", "http://b", "http://c"]
    assert "serves another" in fleet.members[1].note
    assert "version 0.26.0" in fleet.members[2].note
    assert {record.message for record in caplog.records} == {each.note for each in fleet.members[1:]}


def test_s06_a_server_that_was_replaced_by_one_with_another_model_gets_no_more_work() -> None:
    members = servers(1, 1)

    def replace(_: Fleet) -> None:
        at(5.0, lambda: setattr(members[0], "model", "another"))

    done = batch(members, jobs(50, model="model"), replace)

    assert (len(done.replies), done.errors) == (50, [])
    assert members[0].made < 15


def test_s06_a_server_that_has_the_right_model_again_gets_work_again() -> None:
    members = servers(1, 1)
    made: list[int] = []

    def replace(_: Fleet) -> None:
        at(5.0, lambda: setattr(members[0], "model", "another"))
        at(20.0, lambda: setattr(members[0], "model", "model"))
        at(20.0, lambda: made.append(members[0].made))

    done = batch(members, jobs(100, model="model"), replace)

    assert (len(done.replies), done.errors) == (100, [])
    assert members[0].made > made[0] + 10


def test_s07_a_server_that_answers_rubbish_is_put_out_after_three() -> None:
    members = servers(1, 1)
    members[0].fault = rubbish

    done = batch(members, jobs(40, sizes=[1.0]))

    assert (len(done.replies), done.errors) == (40, [])
    assert members[0].sent <= 4  # one was under way when the third came back


def test_s07_a_picture_that_is_none_is_rubbish_too() -> None:
    members = servers(1, 1)
    members[0].picture = b"<html>"

    done = batch(members, jobs(40, sizes=[1.0]))

    assert (len(done.replies), done.errors) == (40, [])
    assert members[0].sent <= 4  # one was under way when the third came back


def test_s08_a_request_on_which_two_engines_died_is_set_aside_and_the_rest_is_made() -> None:
    members = servers(1, 1, 1)

    def poison(request: ServerRequest, _: int) -> str | None:
        return "dead" if request.seed == 7 else None

    for server in members:
        server.fault = poison

    done = batch(members, jobs(60))

    [error] = done.errors
    assert isinstance(error, PoisonRequest)
    assert (error.attempts, error.generations) == (2, 2)
    assert len(done.replies) == 59
    assert sorted(server.engine_alive for server in members) == [False, False, True]


def test_s08_a_request_that_kills_the_same_engine_twice_is_set_aside_too() -> None:
    members = servers(1, 1, restart=10.0)
    members[0].fault = lambda request, _: "dead" if request.seed == 7 else None
    members[1].is_up = False

    done = batch(members, jobs(20))

    assert [type(error) for error in done.errors] == [PoisonRequest]
    assert len(done.replies) == 19


def test_an_image_that_no_server_is_left_for_tells_its_own_attempts_and_not_those_of_another() -> None:
    backends = servers(1, 1)
    pool = ServerPool(backends)
    for member in pool.members:
        member.last_error = lost(backends[0].base_url, attempts=7)
    call = FleetCall(work=1.0, model=None, low_priority=False, repeatable=True)
    never_sent = pool.refusal(call)
    assert isinstance(never_sent, ServerUnreachable)
    assert (never_sent.exchange, never_sent.gpu_spent, never_sent.failures) == (None, "no", ())

    call.error = lost(backends[1].base_url, attempts=1)
    call.budget.start_attempt(lambda: 0.0)
    call.budget.record_failure(call.error, 1.0, cost="unknown")
    sent = pool.refusal(call)
    assert isinstance(sent, ServerUnreachable)
    assert sent.exchange
    assert (sent.exchange.url, sent.exchange.attempts, sent.exchange.generations) == ("http://b", 1, 1)
    assert sent.gpu_spent == "unknown"


def lost(url: str, *, attempts: int) -> ServerUnreachable:
    exchange = Exchange(method="POST", url=url, attempts=attempts, generations=attempts)
    return ServerUnreachable("It is away.", exchange=exchange)


def test_servers_that_all_fail_again_and_again_are_not_left_alone_for_long() -> None:
    members = servers(1, 1)
    moments = range(10, 130, 20)

    def outages(_: Fleet) -> None:
        for server in members:
            for moment in moments:
                at(moment, server.go_down)
                at(moment + 6.0, server.come_up)

    requests = jobs(150)
    done = batch(members, requests, outages)

    assert (len(done.replies), done.errors) == (150, [])
    assert done.seconds <= ideal(requests, 1, 1) + len(moments) * (6.0 + 2 * PROBE_SECONDS)


def test_a_request_is_made_by_another_server_when_one_fails_at_it() -> None:
    members = servers(1, 1)
    members[0].fault = lambda _, number: "error" if number == 1 else None
    members[1].fault = lambda _, number: "lost" if number == 1 else None

    done = batch(members, jobs(10))

    assert (len(done.replies), done.errors) == (10, [])


@pytest.mark.parametrize(
    ("fault", "kind", "sent"), [("error", ServerError, 2), ("memory", OutOfGpuMemory, 1)]
)
def test_what_is_said_of_a_request_is_believed_and_not_held_against_the_servers(
    fault: str, kind: type[OmniError], sent: int
) -> None:
    members = servers(1, 1)
    for server in members:
        server.fault = lambda request, _: fault if request.seed is not None and request.seed % 2 else None

    done = batch(members, jobs(40))

    assert len(done.replies) == 20
    assert {type(error) for error in done.errors} == {kind}
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


def test_when_all_are_down_the_last_error_comes_at_once_and_nobody_is_asked_again_for_five_seconds() -> None:
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


def test_servers_join_and_leave_while_a_batch_runs() -> None:
    first, second, third = servers(1, 1, 1)

    async def main() -> tuple[Batch, Fleet]:
        fleet = fleet_of([first, second])
        at(10.0, lambda: fleet.join(third))
        leaving = asyncio.create_task(_later(20.0, lambda: fleet.leave("http://a")))
        done = await Batch(fleet, jobs(100)).made()
        await leaving
        return done, fleet

    done, fleet = run(main())

    assert (len(done.replies), done.errors) == (100, [])
    assert third.made > 20
    assert first.closed
    assert [member.url for member in fleet.members] == ["http://b", "http://c"]
    assert sum(server.sent for server in (first, second, third)) == 100


async def _later(seconds: float, do: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    await do()  # type: ignore[misc]  # a coroutine function


def test_each_picture_tells_who_made_it() -> None:
    members = servers(1, 1)
    done = batch(members, jobs(20))
    made = [reply.receipt.server for reply in done.replies if reply.receipt]
    assert {url: made.count(url) for url in made} == {server.base_url: server.made for server in members}


def test_what_somebody_waits_for_goes_before_a_batch() -> None:
    members = servers(1, 1)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        fleet = fleet_of(members)
        running = asyncio.create_task(Batch(fleet, jobs(100, sizes=[1.0])).made())
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
        assert len((await Batch(fleet, jobs(5)).made()).replies) == 5
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


def test_a_single_servers_errors_pass_through_unchanged() -> None:
    refusal = ServerBusy("busy", status=503)

    class Busy(VirtualServer):
        async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
            raise refusal

    async def main() -> None:
        await fleet_of([Busy()]).generate_image(jobs(1)[0])

    with pytest.raises(ServerBusy) as caught:
        run(main())
    assert caught.value is refusal


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


def test_a_server_is_left_alone_for_as_long_as_it_asked() -> None:
    members = [Patient(f"http://{name}", wait=90.0, free_at=89.0) for name in "ab"]

    async def main() -> float:
        await fleet_of(members).generate_image(jobs(1)[0])
        return asyncio.get_running_loop().time()

    assert 90 <= run(main()) < 95
    assert [each.refused for each in members] == [1, 1]


@pytest.mark.parametrize("low_priority", [False, True])
@pytest.mark.parametrize("wait", [121.0, 1e9])
def test_a_call_does_not_wait_when_every_server_asks_for_too_long(wait: float, low_priority: bool) -> None:  # noqa: FBT001  # a parameter of the test
    members = [Patient(f"http://{name}", wait=wait) for name in "abc"]

    async def main() -> float:
        with pytest.raises(ServerBusy):
            await fleet_of(members).generate_image(jobs(1)[0], low_priority=low_priority)
        return asyncio.get_running_loop().time()

    assert run(main()) < 1
    assert [each.refused for each in members] == [1, 1, 1]


def test_a_server_that_asks_for_too_long_does_not_end_a_call_that_another_takes() -> None:
    members = [Patient("http://a", wait=1e9), VirtualServer("http://b", speed=0.01)]

    async def main() -> None:
        await fleet_of(members).generate_image(jobs(1)[0])

    run(main())
    assert members[1].sent == 1


def test_a_single_server_is_asked_nothing_but_what_it_is_asked() -> None:
    server = VirtualServer()

    async def main() -> float:
        fleet = fleet_of([server])
        await asyncio.gather(*(fleet.generate_image(request) for request in jobs(5)))
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(5.05)
    assert (server.sent, server.most_under_way, server.probes) == (5, 5, [])


@pytest.mark.parametrize("names", [[], ["http://a", "http://a"]])
def test_a_fleet_needs_servers_and_each_of_them_once(names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        Fleet([VirtualServer(name) for name in names])


def test_the_last_server_cannot_leave() -> None:
    with pytest.raises(InvalidRequest, match="last server"):
        run(Fleet([VirtualServer()]).leave("http://a"))


def test_a_server_that_wants_to_be_left_alone_is_not_waited_for_while_another_is_free() -> None:
    members = servers(1, 0.8)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        fleet = fleet_of(members)
        await Batch(fleet, jobs(10, sizes=[1.0])).made()
        members[0].fault = busy  # it asks to be left alone for a second
        members[0].work = lambda _: 0.1
        began = loop.time()
        await fleet.generate_image(jobs(1, sizes=[1.0])[0])
        return loop.time() - began

    assert run(main()) < 2.2
    assert members[0].sent < 10


def test_a_server_that_fails_at_everything_gets_no_more_work_than_it_takes_to_find_that_out() -> None:
    members = servers(1, 1)
    members[0].fault = error
    members[0].work = lambda _: 0.0

    done = batch(members, jobs(100))

    assert (len(done.replies), done.errors) == (100, [])
    assert members[0].sent <= 10


def test_the_health_of_an_idle_fleet_is_asked_for_and_not_remembered() -> None:
    members = servers(1, 1)

    async def main() -> list[str]:
        fleet = fleet_of(members)
        assert await fleet.health_check()
        await asyncio.sleep(60)
        members[0].go_down()
        assert await fleet.health_check()
        return [member.state for member in fleet.members]

    assert run(main()) == ["open", "closed"]


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


@pytest.mark.parametrize(
    ("learned", "by_the_slow_one"), [(None, 2), ({"http://a": 10.0, "http://b": 1.0}, 0)]
)
def test_a_server_that_was_measured_to_be_slow_gets_nothing_that_another_would_have_done_sooner(
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


def test_how_many_requests_are_those_of_others_is_known() -> None:
    members = servers(1, 1, tells_metrics=True)

    async def main() -> list[int | None]:
        ours, theirs = fleet_of(members), fleet_of(members[:1])
        calls = [asyncio.create_task(theirs.generate_image(each)) for each in jobs(3, sizes=[5.0])]
        await asyncio.sleep(1)
        told = [await ours.requests_of_others()]
        calls += [asyncio.create_task(ours.generate_image(each)) for each in jobs(2, sizes=[1.0])]
        await asyncio.sleep(1)
        told.append(await ours.requests_of_others())
        await asyncio.gather(*calls)
        told.append(await ours.requests_of_others())
        return told

    assert run(main()) == [3, 3, 0]


def test_servers_that_do_not_tell_have_unknown_requests_of_others() -> None:
    members = servers(1, 1)

    async def main() -> int | None:
        return await fleet_of(members).requests_of_others()

    assert run(main()) is None


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


def test_a_server_of_another_model_does_no_work_that_a_time_could_rest_on() -> None:
    members = servers(1, 1)
    members[1].model = "another"

    async def main() -> list[str]:
        fleet = fleet_of(members)
        assert len(fleet.at_work) == 2  # none has said what it serves yet
        await fleet.generate_image(jobs(1)[0])
        return [report.url for report in fleet.at_work]

    assert run(main()) == ["http://a"]
