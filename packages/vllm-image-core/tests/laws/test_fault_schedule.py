import pytest
from fault_schedule import play


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_every_request_ends_once_whatever_goes_wrong_and_when(first: int) -> None:
    wrong = {seed: played.wrong for seed in range(first, first + 10) if (played := play(seed)).wrong}
    assert wrong == {}, "play(seed) plays it again"


def test_a_schedule_is_the_same_each_time() -> None:
    assert play(7).seconds == play(7).seconds
    assert play(7).faults == play(7).faults
    assert play(7).seconds != play(8).seconds


def test_all_kinds_of_faults_are_in_the_schedules() -> None:
    met = {kind for seed in range(30) for kind in play(seed).faults}
    assert met == {
        *("unreachable", "busy", "lost", "timeout", "bad_reply", "error", "memory", "dead"),
        *("down", "slow", "garbled", "replaced"),
    }
