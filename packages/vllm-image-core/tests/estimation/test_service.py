import pytest
from vllm_image_core.estimation.calibration import ServiceClock


def test_a_picture_alone_took_what_the_server_says() -> None:
    assert ServiceClock().service_seconds(10.0, 3.0, generation=2.5) == 2.5


def test_without_a_word_of_the_server_it_took_from_sending_to_the_answer() -> None:
    assert ServiceClock().service_seconds(10.0, 3.0) == 3.0


@pytest.mark.parametrize("generation", [0.0, -1.0, 50.0, float("nan"), float("inf")])
def test_what_cannot_be_is_not_believed(generation: float) -> None:
    assert ServiceClock().service_seconds(10.0, 3.0, generation=generation) == 3.0


def test_waiting_behind_our_own_pictures_is_no_service() -> None:
    clock = ServiceClock()
    # Four sent at once to a server that makes one at a time: 1, 2, 3 and 4 seconds of work.
    ends = (1.0, 3.0, 6.0, 10.0)
    took = [clock.service_seconds(end, end, generation=end) for end in ends]
    assert took == [1.0, 2.0, 3.0, 4.0]


def test_a_pause_between_two_pictures_is_no_service_either() -> None:
    clock = ServiceClock()
    clock.service_seconds(1.0, 1.0)
    assert clock.service_seconds(102.0, 2.0) == 2.0


def test_a_picture_that_is_told_late_is_put_into_its_place() -> None:
    clock = ServiceClock()
    assert clock.service_seconds(6.0, 2.0) == 2.0
    assert clock.service_seconds(4.0, 1.0) == 1.0
    assert clock.service_seconds(7.0, 6.5) == 1.0


def test_pictures_that_were_made_together_tell_one_time() -> None:
    clock = ServiceClock()
    assert clock.service_seconds(4.0, 4.0) == 4.0
    assert [clock.service_seconds(4.0 + 0.01 * number, 4.0) for number in (1, 2, 3)] == [None, None, None]


def test_a_small_picture_behind_a_large_one_is_still_measured() -> None:
    clock = ServiceClock()
    clock.service_seconds(10.0, 10.0)
    assert clock.service_seconds(10.5, 10.5) == pytest.approx(0.5)


def test_a_server_that_makes_four_at_a_time_took_from_the_fourth_last_end() -> None:
    clock = ServiceClock(parallelism=4)
    for end in (2.0, 2.5, 3.0, 3.5):
        clock.service_seconds(end, end)
    # Sent at 0 and queued until the first ended, at 2.
    assert clock.service_seconds(4.0, 4.0) == 2.0
