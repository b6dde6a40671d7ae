from dataclasses import dataclass

import pytest
from vllm_image_core.estimation.backlog import Backlog, Eta, ServerSpeed, duration
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.registry import Registry

KLEIN = Registry.builtin().find("FLUX.2-klein-4B").profile
WORK = Work(megapixels=1.048576, forwards=4)
EDIT = Work(megapixels=1.048576, forwards=4, task="edit")


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def speed(seconds: float = 10.0, *, parallelism: int = 1, others: int = 0) -> ServerSpeed:
    """A server that needs this long for `WORK`."""
    predictor = Predictor(KLEIN)
    for _ in range(10):
        predictor.observe(WORK, seconds)
    return ServerSpeed(predictor=predictor, parallelism=parallelism, others=others)


def batch(count: int) -> tuple[Backlog, Clock]:
    clock = Clock()
    remaining = Backlog(timer=clock)
    for _ in range(count):
        remaining.add(WORK)
    return remaining, clock


def test_a_batch_that_has_not_started_needs_time_for_all_its_images() -> None:
    remaining, _ = batch(4)
    assert remaining.eta([speed()]).seconds == pytest.approx(40.0)


def test_a_batch_without_images_is_done() -> None:
    remaining, _ = batch(0)
    assert remaining.eta([speed()]).seconds == 0.0


def test_the_elapsed_time_of_an_image_in_progress_is_not_left() -> None:
    remaining, clock = batch(4)
    remaining.mark_sent(0, WORK)
    clock.now += 4
    assert remaining.eta([speed()]).seconds == pytest.approx(36.0)


def test_an_image_that_takes_longer_than_predicted_does_not_shorten_the_rest() -> None:
    remaining, clock = batch(4)
    remaining.mark_sent(0, WORK)
    clock.now += 50
    assert remaining.eta([speed()]).seconds == pytest.approx(30.0)


@pytest.mark.parametrize("parallelism", [1, 4])
def test_overdue_images_of_an_unmeasured_server_are_not_announced_for_the_next_second(
    parallelism: int,
) -> None:
    unknown = ServerSpeed(predictor=Predictor(KLEIN), parallelism=parallelism)
    [whole] = {unknown.predictor.seconds(WORK)}
    remaining, clock = batch(4)
    for index in range(4):
        remaining.mark_sent(index, WORK)
    told = [remaining.eta([unknown])]
    for _ in range(100):
        clock.now += whole
        told.append(remaining.eta([unknown]))
    assert told[0].seconds == pytest.approx(4 * whole / parallelism)
    assert told[0].basis == "nothing measured yet: from the profile, may be off by half"
    for number, eta in enumerate(told[2:], 2):  # a third of what one of them has taken, and all others
        assert eta.seconds == pytest.approx(number * whole * (4 / 3 * 4 / parallelism - 1))
    assert "by an unknown amount" in told[2].basis
    assert str(told[10]).endswith("left (images take longer than the profile says, by an unknown amount)")


def test_the_eta_before_the_first_image_of_an_unknown_server_never_jumps() -> None:
    unknown = ServerSpeed(predictor=Predictor(KLEIN))
    remaining, clock = batch(2)
    remaining.mark_sent(0, WORK)
    before = remaining.eta([unknown]).seconds
    for _ in range(400):
        clock.now += unknown.predictor.seconds(WORK) / 100
        seconds = remaining.eta([unknown]).seconds
        assert before is not None
        assert seconds is not None
        assert abs(seconds - before) < 0.05 * before
        before = seconds


def test_the_last_overdue_image_of_a_known_server_is_not_announced_for_the_next_second() -> None:
    remaining, clock = batch(1)
    remaining.mark_sent(0, WORK)
    clock.now += 40
    assert remaining.eta([speed(10.0)]).seconds == pytest.approx(15.0)


def test_an_image_that_waits_at_its_server_has_not_started() -> None:
    remaining, clock = batch(4)
    remaining.mark_sent(0, WORK)
    remaining.mark_sent(1, WORK)
    clock.now += 10
    remaining.mark_ended(0, generated=True)
    remaining.mark_sent(2, WORK)
    clock.now += 3
    assert remaining.eta([speed()]).seconds == pytest.approx(27.0)


def test_failed_and_existing_images_are_not_left() -> None:
    remaining, _ = batch(3)
    remaining.mark_sent(0, WORK)
    remaining.mark_ended(0, generated=False)
    assert remaining.eta([speed()]).seconds == pytest.approx(20.0)
    assert remaining.load.pictures == 2


def test_an_image_that_waits_again_is_left_and_the_pause_does_not_count() -> None:
    remaining, clock = batch(20)
    for index in range(10):
        remaining.mark_sent(index, WORK)
        clock.now += 10
        remaining.mark_ended(index, generated=True)
    remaining.mark_sent(10, WORK)
    remaining.mark_returned(10)
    clock.now += 10_000
    assert remaining.eta([speed()]).seconds == pytest.approx(100.0)


def test_an_outage_while_an_image_was_in_progress_does_not_distort_the_pace() -> None:
    remaining, clock = batch(40)
    for index in range(20):
        remaining.mark_sent(index, WORK)
        clock.now += 6_000 if index == 15 else 10
        remaining.mark_ended(index, generated=True)
    told = remaining.eta([speed()]).seconds
    assert told is not None
    assert 200 <= told < 400


def test_a_server_that_runs_several_requests_at_a_time_is_done_sooner() -> None:
    remaining, _ = batch(40)
    assert remaining.eta([speed(parallelism=4)]).seconds == pytest.approx(100.0)


def test_the_last_image_takes_its_full_time_whatever_the_parallelism() -> None:
    remaining, clock = batch(1)
    remaining.mark_sent(0, WORK)
    clock.now += 2
    assert remaining.eta([speed(parallelism=4)]).seconds == pytest.approx(8.0)


def test_several_servers_share_the_work_according_to_their_speeds() -> None:
    remaining, _ = batch(30)
    assert remaining.eta([speed(10.0), speed(20.0)]).seconds == pytest.approx(200.0)


def test_requests_of_other_clients_come_first() -> None:
    remaining, _ = batch(4)
    assert remaining.eta([speed(others=3)]).seconds == pytest.approx(70.0)


def test_a_pace_that_differs_from_the_prediction_is_followed() -> None:
    remaining, clock = batch(130)
    for index in range(100):
        remaining.mark_sent(index, WORK)
        clock.now += 5
        remaining.mark_ended(index, generated=True)
    told = remaining.eta([speed(10.0)]).seconds
    assert told is not None
    assert 150 < told < 180


def test_the_pace_before_a_change_of_the_server_no_longer_counts() -> None:
    predictor = Predictor(KLEIN)
    remaining, clock = batch(60)
    for index in range(50):
        seconds = 10.0 if index < 40 else 5.0
        remaining.mark_sent(index, WORK)
        clock.now += seconds
        predictor.observe(WORK, seconds)
        remaining.mark_ended(index, generated=True)
        remaining.eta([ServerSpeed(predictor=predictor)])
    assert predictor.changes == 1
    assert remaining.eta([ServerSpeed(predictor=predictor)]).seconds == pytest.approx(50.0, rel=0.02)


def test_images_that_were_never_added_are_assumed_to_be_like_the_others() -> None:
    remaining, clock = batch(2)
    remaining.mark_sent(0, WORK)
    clock.now += 10
    remaining.mark_ended(0, generated=True)
    assert remaining.eta([speed()], pictures_left=7).seconds == pytest.approx(70.0)
    assert remaining.eta([speed()], pictures_left=1).seconds == pytest.approx(10.0)
    assert remaining.eta([speed()], pictures_left=0).seconds == pytest.approx(0.0)


def test_without_known_images_the_eta_is_unknown() -> None:
    remaining, _ = batch(0)
    told = remaining.eta([speed()], pictures_left=7)
    assert (told.seconds, told.basis) == (None, "no image of this batch has started yet")


def test_if_more_images_may_come_the_eta_is_unknown() -> None:
    remaining, _ = batch(4)
    told = remaining.eta([speed()], more=True)
    assert (told.seconds, str(told)) == (
        None,
        "time left unknown (the number of images is not known yet)",
    )


def test_the_basis_is_that_of_the_server() -> None:
    remaining, _ = batch(4)
    told = remaining.eta([speed()])
    assert (told.basis, told.measured) == ("10 images on this server, off by 1 % on the last 9", True)
    assert str(told) == "about 40 s left (measured)"


def test_a_basis_that_is_only_the_profile_says_so() -> None:
    remaining, _ = batch(4)
    told = remaining.eta([ServerSpeed(predictor=Predictor(KLEIN))])
    assert (told.basis, told.measured) == (
        "nothing measured yet: from the profile, may be off by half",
        False,
    )
    assert str(told) == "about 2 s left (from the profile, may be off by half)"


def test_the_basis_of_several_servers_says_how_many_are_measured() -> None:
    remaining, _ = batch(4)
    told = remaining.eta([speed(), speed(), ServerSpeed(predictor=Predictor(KLEIN))])
    assert (told.basis, told.measured) == ("20 images on 2 of 3 servers, off by 1 % at worst", False)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than 1 s"),
        (1.4, "about 1 s"),
        (9.4, "about 9 s"),
        (38.0, "about 40 s"),
        (89.0, "about 90 s"),
        (120.0, "about 2 min"),
        (1_000.0, "about 15 min"),
        (5_390.0, "about 90 min"),
        (5_500.0, "about 1 h 30 min"),
        (7_200.0, "about 2 h"),
        (100_000.0, "about 27 h 50 min"),
    ],
)
def test_a_duration_is_rounded_to_its_precision(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_eta_is_a_value() -> None:
    assert Eta(seconds=1.0, basis="x") == Eta(seconds=1.0, basis="x", measured=False)


def of_edits(seconds: float, *, edit_seconds: float | None = None) -> ServerSpeed:
    """A server that needs this long for `WORK`, and for an edit of the same size."""
    edits = Predictor(KLEIN)
    for _ in range(10 if edit_seconds else 0):
        edits.observe(EDIT, edit_seconds or 0.0)
    return ServerSpeed(predictor=speed(seconds).predictor, edits=edits)


def test_edits_and_generations_of_one_batch_have_separate_times() -> None:
    remaining, _ = batch(2)
    remaining.add(EDIT)
    told = remaining.eta([of_edits(10.0, edit_seconds=50.0)])
    assert told.seconds == pytest.approx(70.0)
    assert "; for edits: 10 images on this server" in told.basis
    assert told.measured


def test_unmeasured_edits_use_the_time_of_other_images_and_say_so() -> None:
    remaining, _ = batch(0)
    remaining.add(EDIT)
    told = remaining.eta([of_edits(10.0)])
    assert told.seconds == pytest.approx(10.0)
    assert told.basis.startswith("no edit measured yet: based on 10 images on this server")
    assert not told.measured


def test_an_edit_in_progress_uses_the_cost_law_of_edits() -> None:
    remaining, clock = batch(0)
    remaining.add(EDIT)
    remaining.mark_sent(0, EDIT)
    clock.now += 20
    assert remaining.eta([of_edits(10.0, edit_seconds=50.0)]).seconds == pytest.approx(30.0)
