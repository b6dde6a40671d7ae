from dataclasses import replace
from itertools import count as counting
from pathlib import Path

import pytest
from vllm_image_core.estimation.calibration import Calibration, CompletedImage
from vllm_image_core.estimation.measurements import Measurements, Origin
from vllm_image_core.estimation.service_times import ServiceTimes
from vllm_image_core.estimation.work import Work
from vllm_image_core.fleet.server import ServerReport
from vllm_image_core.models.registry import Registry

KLEIN = Registry.builtin().find("FLUX.2-klein-4B").profile
SQUARE = Work(megapixels=1.048576, forwards=4)
LARGE = Work(megapixels=4.0, forwards=4)
FAST = Origin(server="http://fast:6655", model="klein", version="0.30.0")
_numbers = counting(1)
SLOW = replace(FAST, server="http://slow:6655")


def speeds(folder: Path) -> ServiceTimes:
    return ServiceTimes(Calibration(Measurements(folder)))


def make(
    speeds: ServiceTimes, origin: Origin, seconds: float, *, count: int = 5, work: Work = SQUARE
) -> None:
    for _ in range(count):
        ended = 1_000.0 * next(_numbers)
        speeds.learn(
            CompletedImage(origin=origin, profile=KLEIN, work=work, ended=ended, elapsed_seconds=seconds)
        )


def report(origin: Origin, *, state: str = "closed", others: int | None = None) -> ServerReport:
    return ServerReport(
        url=origin.server,
        state="open" if state == "open" else "closed",
        model="klein",
        version="0.30.0",
        in_progress=0,
        limit=2,
        parallel=None,
        others=others,
        done=0,
        failed=0,
        error=None,
        note="",
    )


def test_nothing_is_known_before_a_server_has_reported_its_model(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    assert (one.of([report(FAST)]), one.cost(SQUARE), one.seconds_per_cost(FAST.server)) == ((), None, None)


def test_each_server_has_its_own_speed_which_is_kept_for_the_next_studio(tmp_path: Path) -> None:
    first = speeds(tmp_path)
    first.load(KLEIN, [FAST, SLOW])
    make(first, FAST, 2.0)
    make(first, SLOW, 20.0)
    later = speeds(tmp_path)
    later.load(KLEIN, [FAST, SLOW])
    for one in (first, later):
        fast, slow = one.of([report(FAST), report(SLOW, others=3)])
        assert fast.predictor.seconds(SQUARE) == pytest.approx(2.0)
        assert slow.predictor.seconds(SQUARE) == pytest.approx(20.0)
        assert (fast.others, slow.others) == (0, 3)
        assert one.seconds_per_cost(FAST.server) == pytest.approx(2.0)
        assert one.seconds_per_cost(SLOW.server) == pytest.approx(20.0)


def test_a_server_that_is_out_of_service_does_not_count_unless_all_are(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    one.load(KLEIN, [FAST, SLOW])
    assert len(one.of([report(FAST), report(SLOW, state="open")])) == 1
    assert len(one.of([report(FAST, state="open"), report(SLOW, state="open")])) == 2


def test_a_cost_is_relative_to_a_usual_image_whatever_the_speed_of_the_server(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    one.load(KLEIN, [FAST])
    before = one.cost(LARGE)
    make(one, FAST, 9.0)
    assert one.cost(SQUARE) == pytest.approx(1.0)
    assert before == pytest.approx(one.cost(LARGE))


def test_a_cost_follows_the_measurements_of_large_and_small_images(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    one.load(KLEIN, [FAST])
    assert one.cost(LARGE) == pytest.approx(4.35, rel=0.01)
    for _ in range(10):
        make(one, FAST, 9.0, count=1)
        make(one, FAST, 60.0, count=1, work=LARGE)
    assert one.cost(LARGE) == pytest.approx(60 / 9, rel=0.05)


def test_a_server_without_measurements_has_no_speed(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    one.load(KLEIN, [FAST])
    make(one, SLOW, 20.0)
    assert one.seconds_per_cost(FAST.server) is None
    assert one.seconds_per_cost(SLOW.server) == pytest.approx(20.0)


def test_edits_are_known_separately(tmp_path: Path) -> None:
    one = speeds(tmp_path)
    one.load(KLEIN, [FAST])
    make(one, FAST, 2.0)
    edit = replace(SQUARE, task="edit")
    [before] = one.of([report(FAST)])
    assert before.of("edit") is before.predictor
    make(one, replace(FAST, task="edit"), 8.0, work=edit)
    [speed] = one.of([report(FAST)])
    assert speed.of("edit").seconds(edit) == pytest.approx(8.0)
    assert speed.of("generation").seconds(SQUARE) == pytest.approx(2.0)
    assert one.best(KLEIN, "edit").pictures == 5
    assert one.cost(edit) == pytest.approx(4.0)
