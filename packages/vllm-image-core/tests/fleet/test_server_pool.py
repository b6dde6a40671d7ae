"""The servers of a fleet, and what each of them can serve."""

import pytest
from virtual_fleet import at, batch, fleet_of, jobs, servers
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.fleet.server import FleetCall
from vllm_image_core.fleet.server_pool import ServerPool
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.errors import BadRequest, Exchange, ServerUnreachable


def test_s05_a_request_goes_to_the_servers_that_have_its_model() -> None:
    members = servers(1, 1, 1)
    members[1].model = "another"

    done = batch(members, jobs(30, model="model"))

    assert (len(done.replies), done.errors) == (30, {})
    assert [server.made > 0 for server in members] == [True, False, True]


def test_s05_a_model_that_no_server_has_is_refused_with_the_models_there_are() -> None:
    members = servers(1, 1)
    members[1].model = "another"

    async def main() -> None:
        await fleet_of(members).generate_image(jobs(1, model="third")[0])

    with pytest.raises(BadRequest, match=r"third.*http://a: model, http://b: another") as caught:
        run(main())
    assert caught.value.next_step
    assert [server.sent for server in members] == [0, 0]


@pytest.mark.parametrize("slow_to_answer", [0, 1, 2])
def test_s05_another_model_or_version_of_a_server_is_reported(
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
    assert {record.message for record in caplog.records if record.levelname == "WARNING"} == {
        each.note for each in fleet.members[1:]
    }


def test_s06_a_server_replaced_by_one_with_another_model_gets_no_more_work() -> None:
    members = servers(1, 1)

    def replace(_: Fleet) -> None:
        at(5.0, lambda: setattr(members[0], "model", "another"))

    done = batch(members, jobs(50, model="model"), replace)

    assert (len(done.replies), done.errors) == (50, {})
    assert members[0].made < 15


def test_s06_a_server_that_has_the_right_model_again_gets_work_again() -> None:
    members = servers(1, 1)
    made: list[int] = []

    def replace(_: Fleet) -> None:
        at(5.0, lambda: setattr(members[0], "model", "another"))
        at(20.0, lambda: setattr(members[0], "model", "model"))
        at(20.0, lambda: made.append(members[0].made))

    done = batch(members, jobs(100, model="model"), replace)

    assert (len(done.replies), done.errors) == (100, {})
    assert members[0].made > made[0] + 10


@pytest.mark.parametrize("names", [[], ["http://a", "http://a"]])
def test_a_fleet_needs_at_least_one_server_and_each_only_once(names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        Fleet([VirtualServer(name) for name in names])


def test_the_last_server_cannot_leave() -> None:
    with pytest.raises(InvalidRequest, match="last server"):
        run(Fleet([VirtualServer()]).leave("http://a"))


def test_a_server_with_another_model_does_no_work_that_could_be_timed() -> None:
    members = servers(1, 1)
    members[1].model = "another"

    async def main() -> list[str]:
        fleet = fleet_of(members)
        assert len(fleet.at_work) == 2  # none has reported what it serves yet
        await fleet.generate_image(jobs(1)[0])
        return [report.url for report in fleet.at_work]

    assert run(main()) == ["http://a"]


def lost(url: str, *, attempts: int) -> ServerUnreachable:
    exchange = Exchange(method="POST", url=url, attempts=attempts, generations=attempts)
    return ServerUnreachable("It is away.", exchange=exchange)


def test_an_image_without_a_server_reports_its_own_attempts_and_not_those_of_another() -> None:
    pool = ServerPool(servers(1, 1))
    for member in pool.members:
        member.last_error = lost(member.url, attempts=7)
    call = FleetCall(work=1.0, model=None, low_priority=False, repeatable=True)
    never_sent = pool.unservable_error(call)
    assert isinstance(never_sent, ServerUnreachable)
    assert (never_sent.exchange, never_sent.gpu_spent, never_sent.failures) == (None, "no", ())

    call.error = lost("http://b", attempts=1)
    call.budget.start_attempt(lambda: 0.0)
    call.budget.record_failure(call.error, 1.0, cost="unknown")
    sent = pool.unservable_error(call)
    assert isinstance(sent, ServerUnreachable)
    assert sent.exchange
    assert (sent.exchange.url, sent.exchange.attempts, sent.exchange.generations) == ("http://b", 1, 1)
    assert sent.gpu_spent == "unknown"
