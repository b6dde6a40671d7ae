from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from vllm_image_core.estimation.calibration import Calibration, CompletedImage, ServiceClock
from vllm_image_core.estimation.measurements import Measurements, Origin
from vllm_image_core.estimation.predictor import GB_PER_MIB
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.registry import Registry

KLEIN = Registry.builtin().find("FLUX.2-klein-4B").profile
WORK = Work(megapixels=1.048576, forwards=4)
ORIGIN = Origin(server="http://gpu:6655", model="klein", version="0.30.0")
MADE = CompletedImage(
    origin=ORIGIN, profile=KLEIN, work=WORK, ended=100.0, elapsed_seconds=2.0, peak_mib=20_000.0
)


def calibration(root: Path) -> Calibration:
    return Calibration(Measurements(root))


def test_what_one_studio_learns_is_known_to_the_next_one_on_that_folder(tmp_path: Path) -> None:
    first = calibration(tmp_path)
    for number in range(6):
        first.learn(replace(MADE, ended=100.0 + 10 * number))
    for one in (first, calibration(tmp_path)):
        predictor = one.predictor(ORIGIN, KLEIN)
        assert predictor.pictures == 6
        assert predictor.seconds(WORK) == pytest.approx(2.0)
        assert predictor.peak_gb(WORK) == pytest.approx(20_000 * GB_PER_MIB)


def test_two_studios_on_one_folder_learn_from_each_other(tmp_path: Path) -> None:
    ours, theirs = calibration(tmp_path), calibration(tmp_path)
    ours.learn(MADE)
    theirs.learn(replace(MADE, ended=110.0))
    theirs.learn(replace(MADE, ended=120.0))
    ours.learn(replace(MADE, ended=130.0))
    assert ours.predictor(ORIGIN, KLEIN).pictures == 4
    assert theirs.predictor(ORIGIN, KLEIN).pictures == 3


def test_another_version_of_a_server_is_another_origin(tmp_path: Path) -> None:
    one = calibration(tmp_path)
    one.learn(MADE)
    assert one.predictor(replace(ORIGIN, version="0.31.0"), KLEIN).pictures == 0


def test_waiting_behind_our_own_images_is_not_learned(tmp_path: Path) -> None:
    one = calibration(tmp_path)
    for place in range(1, 9):
        waited = 2.0 * min(place, 4)
        one.learn(replace(MADE, ended=2.0 * place, elapsed_seconds=waited, generation_seconds=waited - 0.001))
    assert one.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(2.0, rel=0.01)


def test_the_first_image_of_a_process_does_not_distort_what_is_known(tmp_path: Path) -> None:
    before = calibration(tmp_path)
    for number in range(10):
        before.learn(replace(MADE, ended=100.0 + 10 * number))
    after = calibration(tmp_path)
    after.learn(replace(MADE, ended=1_000.0, elapsed_seconds=60.0))
    assert after.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(2.0)


def test_an_image_that_was_sent_again_counts_only_with_the_time_from_its_server(tmp_path: Path) -> None:
    one = calibration(tmp_path)
    one.learn(replace(MADE, elapsed_seconds=50.0, attempts=3))
    assert one.predictor(ORIGIN, KLEIN).pictures == 0
    one.learn(replace(MADE, elapsed_seconds=50.0, attempts=3, generation_seconds=2.0))
    assert one.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(2.0)


def test_a_server_may_report_that_it_runs_several_images_at_a_time(tmp_path: Path) -> None:
    one = calibration(tmp_path)
    for place in range(8):
        one.learn(replace(MADE, ended=4.0 + place, elapsed_seconds=4.0, parallel=4))
    assert one.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(4.0)


def test_edits_are_learned_separately_and_share_the_time_of_the_server(tmp_path: Path) -> None:
    edits = replace(ORIGIN, task="edit")
    work = replace(WORK, task="edit")
    one = calibration(tmp_path)
    for place in range(1, 9):  # each image waits for an edit of 6 s, each edit for an image of 2 s
        one.learn(replace(MADE, ended=8.0 * place, elapsed_seconds=8.0))
        one.learn(replace(MADE, origin=edits, work=work, ended=8.0 * place + 6.0, elapsed_seconds=8.0))
    for kept in (one, calibration(tmp_path)):
        assert kept.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(2.0, rel=0.1)
        assert kept.predictor(edits, KLEIN).seconds(work) == pytest.approx(6.0, rel=0.1)


def test_a_folder_that_stores_nothing_does_not_stop_learning(tmp_path: Path) -> None:
    (tmp_path / ".vllm-image").write_text("a file in the way")
    one = calibration(tmp_path)
    one.learn(MADE)
    assert one.predictor(ORIGIN, KLEIN).seconds(WORK) == pytest.approx(2.0)


def test_many_threads_may_report_images(tmp_path: Path) -> None:
    one = calibration(tmp_path)
    mades = [replace(MADE, ended=100.0 + 10 * number) for number in range(30)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one.learn, mades, timeout=60))
    assert one.predictor(ORIGIN, KLEIN).pictures == 30
    assert calibration(tmp_path).predictor(ORIGIN, KLEIN).pictures == 30


def test_the_service_time_of_a_single_image_is_the_reported_one() -> None:
    assert ServiceClock().service_seconds(10.0, 3.0, generation=2.5) == 2.5


def test_without_a_reported_time_it_is_the_time_from_sending_to_the_answer() -> None:
    assert ServiceClock().service_seconds(10.0, 3.0) == 3.0


@pytest.mark.parametrize("generation", [0.0, -1.0, 50.0, float("nan"), float("inf")])
def test_impossible_times_are_ignored(generation: float) -> None:
    assert ServiceClock().service_seconds(10.0, 3.0, generation=generation) == 3.0


def test_waiting_behind_our_own_images_is_not_service_time() -> None:
    clock = ServiceClock()
    # Four sent at once to a server that makes one at a time: 1, 2, 3 and 4 seconds of work.
    ends = (1.0, 3.0, 6.0, 10.0)
    took = [clock.service_seconds(end, end, generation=end) for end in ends]
    assert took == [1.0, 2.0, 3.0, 4.0]


def test_a_pause_between_two_images_is_not_service_time_either() -> None:
    clock = ServiceClock()
    clock.service_seconds(1.0, 1.0)
    assert clock.service_seconds(102.0, 2.0) == 2.0


def test_an_image_reported_late_is_put_in_its_place() -> None:
    clock = ServiceClock()
    assert clock.service_seconds(6.0, 2.0) == 2.0
    assert clock.service_seconds(4.0, 1.0) == 1.0
    assert clock.service_seconds(7.0, 6.5) == 1.0


def test_images_generated_together_give_one_time() -> None:
    clock = ServiceClock()
    assert clock.service_seconds(4.0, 4.0) == 4.0
    assert [clock.service_seconds(4.0 + 0.01 * number, 4.0) for number in (1, 2, 3)] == [None, None, None]


def test_a_small_image_behind_a_large_one_is_still_measured() -> None:
    clock = ServiceClock()
    clock.service_seconds(10.0, 10.0)
    assert clock.service_seconds(10.5, 10.5) == pytest.approx(0.5)


def test_on_a_server_that_runs_four_at_a_time_service_starts_at_the_fourth_last_end() -> None:
    clock = ServiceClock(parallelism=4)
    for end in (2.0, 2.5, 3.0, 3.5):
        clock.service_seconds(end, end)
    # Sent at 0 and queued until the first ended, at 2.
    assert clock.service_seconds(4.0, 4.0) == 2.0
