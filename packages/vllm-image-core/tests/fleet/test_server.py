"""A server that fails, flaps or answers junk gets less work."""

from virtual_fleet import at, batch, error, ideal, jobs, rubbish, servers
from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS
from vllm_image_core.fleet.fleet import Fleet


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

    assert (len(done.replies), done.errors) == (800, {})
    assert sum(server.sent for server in members) <= 1.1 * 800
    assert sent[1] - sent[0] > 2 * (sent[2] - sent[1])


def test_s07_a_server_that_answers_garbage_is_out_after_three_answers() -> None:
    members = servers(1, 1)
    members[0].fault = rubbish

    done = batch(members, jobs(40, sizes=[1.0]))

    assert (len(done.replies), done.errors) == (40, {})
    assert members[0].sent <= 4  # one was in progress when the third came back


def test_s07_an_invalid_image_counts_as_garbage_too() -> None:
    members = servers(1, 1)
    members[0].picture = b"<html>"

    done = batch(members, jobs(40, sizes=[1.0]))

    assert (len(done.replies), done.errors) == (40, {})
    assert members[0].sent <= 4  # one was in progress when the third came back


def test_servers_that_all_keep_failing_are_not_left_out_for_long() -> None:
    members = servers(1, 1)
    moments = range(10, 130, 20)

    def outages(_: Fleet) -> None:
        for server in members:
            for moment in moments:
                at(moment, server.go_down)
                at(moment + 6.0, server.come_up)

    requests = jobs(150)
    done = batch(members, requests, outages)

    assert (len(done.replies), done.errors) == (150, {})
    assert done.seconds <= ideal(requests, 1, 1) + len(moments) * (6.0 + 2 * PROBE_SECONDS)


def test_a_server_that_fails_at_everything_gets_no_more_work_than_it_takes_to_find_that_out() -> None:
    members = servers(1, 1)
    members[0].fault = error
    members[0].work = lambda _: 0.0

    done = batch(members, jobs(100))

    assert (len(done.replies), done.errors) == (100, {})
    assert members[0].sent <= 10
