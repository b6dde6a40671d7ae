import math
import random

import pytest
from vllm_image_core.estimation.cost_model import WINDOW, CostModel, Sample, fit_coefficients, scale, value

ASSUMED = (1.0, 2.0)


def told(law: CostModel, factor: float, count: int, *, seed: int = 0) -> None:
    """Measurements of the assumed law times a factor, with 2 % of noise."""
    chance = random.Random(seed)
    for _ in range(count):
        size = chance.uniform(0.5, 4.0)
        law.observe((1.0, size), factor * (1.0 + 2.0 * size) * math.exp(chance.gauss(0, 0.02)))


ASSUMED_TERMS = (0.06, 0.08, 0.013, 0.064, 0.013)


def terms(megapixels: float, forwards: int) -> tuple[float, ...]:
    step = forwards * megapixels
    return 1.0, megapixels, float(forwards), step, step * megapixels


JOBS = [
    terms(megapixels, forwards)
    for megapixels in (0.26, 0.5, 1.05, 2.0, 4.2)
    for forwards in (4, 8, 20, 50, 100)
]


def samples(law: tuple[float, ...], jobs: list[tuple[float, ...]] = JOBS) -> list[Sample]:
    return [Sample(job, value(law, job)) for job in jobs]


def test_before_anything_is_measured_the_assumed_law_holds() -> None:
    law = CostModel(ASSUMED)
    assert (law.value((1.0, 3.0)), law.count, law.errors, law.usual) == (7.0, 0, (), None)


def test_the_first_measurement_counts_in_full_while_it_is_the_only_one() -> None:
    law = CostModel(ASSUMED)
    law.observe((1.0, 1.0), 30.0, first=True)
    assert law.value((1.0, 1.0)) == pytest.approx(30.0)
    assert law.only_first


def test_a_first_image_slowed_by_the_start_is_forgotten_after_the_second() -> None:
    law = CostModel(ASSUMED)
    law.observe((1.0, 1.0), 30.0, first=True)
    law.observe((1.0, 1.0), 3.3)
    assert law.value((1.0, 1.0)) == pytest.approx(3.3)
    assert not law.only_first
    assert law.errors == ()  # a prediction from a slowed image is not an error of the law


def test_a_first_image_that_was_not_slow_is_kept() -> None:
    law = CostModel(ASSUMED)
    law.observe((1.0, 1.0), 3.0, first=True)
    law.observe((1.0, 1.0), 3.3)
    assert law.value((1.0, 1.0)) == pytest.approx(math.sqrt(3.0 * 3.3), rel=0.01)


def test_errors_refer_to_the_prediction_before_each_measurement() -> None:
    law = CostModel(ASSUMED)
    law.observe((1.0, 1.0), 6.0)
    law.observe((1.0, 1.0), 5.0)
    assert law.errors == (pytest.approx(0.2),)


def test_only_the_last_measurements_are_kept() -> None:
    law = CostModel(ASSUMED)
    told(law, 1.0, WINDOW + 50)
    assert (law.count, len(law.errors), law.changes) == (WINDOW, 20, 0)


@pytest.mark.parametrize("factor", [1.4, 1 / 1.4, 0.6, 3.0, 0.1])
def test_a_change_of_the_server_is_detected_within_four_images(factor: float) -> None:
    law = CostModel(ASSUMED)
    told(law, 1.0, 40)
    told(law, factor, 4, seed=1)
    assert law.changes == 1
    assert law.value((1.0, 2.0)) == pytest.approx(factor * 5.0, rel=0.05)
    assert law.count <= 4


def test_a_change_is_detected_despite_an_outlier_in_between() -> None:
    law = CostModel(ASSUMED)
    told(law, 1.0, 40)
    told(law, 0.6, 1, seed=1)
    law.observe((1.0, 1.0), 5.0)
    told(law, 0.6, 3, seed=2)
    assert law.changes == 1
    assert law.value((1.0, 2.0)) == pytest.approx(3.0, rel=0.05)


def test_a_small_lasting_change_is_detected_too() -> None:
    law = CostModel(ASSUMED)
    told(law, 1.0, 60)
    told(law, 1.09, 14, seed=1)
    assert law.changes == 1
    assert law.value((1.0, 2.0)) == pytest.approx(1.09 * 5.0, rel=0.03)


def test_images_of_another_kind_are_not_a_change_of_the_server() -> None:
    law, chance = CostModel(ASSUMED), random.Random(5)
    for size, count in ((1.0, 30), (4.0, 10)):  # the true law has another shape than the assumed one
        for _ in range(count):
            law.observe((1.0, size), (0.5 + 2.5 * size) * math.exp(chance.gauss(0, 0.02)))
    assert law.changes == 0
    assert law.value((1.0, 1.0)) == pytest.approx(3.0, rel=0.03)
    assert law.value((1.0, 4.0)) == pytest.approx(10.5, rel=0.05)


def test_a_steady_server_raises_no_alarm() -> None:
    law = CostModel(ASSUMED)
    told(law, 2.0, 500)
    assert law.changes == 0


def test_single_outliers_raise_no_alarm() -> None:
    law = CostModel(ASSUMED)
    for number in range(30):
        told(law, 1.0, 3, seed=number)
        law.observe((1.0, 1.0), 9.0)
    assert law.changes == 0
    assert law.value((1.0, 2.0)) == pytest.approx(5.0, rel=0.05)


def test_the_learned_shape_survives_a_change() -> None:
    law, chance = CostModel(ASSUMED), random.Random(3)
    for factor, count in ((1.0, 60), (2.0, 4)):
        for _ in range(count):
            size = chance.uniform(0.5, 4.0)
            law.observe((1.0, size), factor * (4.0 + 0.5 * size))
    assert law.changes == 1
    assert law.value((1.0, 0.0)) == pytest.approx(8.0, rel=0.15)  # the assumed shape would say 2.6 at most


def test_without_measurements_the_assumed_law_stays() -> None:
    assert fit_coefficients(ASSUMED_TERMS, []) == ASSUMED_TERMS
    assert scale(ASSUMED_TERMS, []) == 1.0


def test_one_measurement_scales_the_complete_law() -> None:
    job = terms(1.05, 4)
    law = fit_coefficients(ASSUMED_TERMS, [Sample(job, 3 * value(ASSUMED_TERMS, job))])
    assert law == pytest.approx([3 * coefficient for coefficient in ASSUMED_TERMS])


def test_the_scale_is_the_median_ratio_and_an_outlier_does_not_move_it() -> None:
    usual = [Sample(job, 2.0 * value(ASSUMED_TERMS, job)) for job in JOBS[:4]]
    wild = Sample(JOBS[4], 50.0 * value(ASSUMED_TERMS, JOBS[4]))
    assert scale(ASSUMED_TERMS, [*usual, wild]) == pytest.approx(2.0)


def test_for_two_measurements_the_scale_is_the_geometric_mean() -> None:
    one, other = (
        Sample(JOBS[0], 2 * value(ASSUMED_TERMS, JOBS[0])),
        Sample(JOBS[1], 8 * value(ASSUMED_TERMS, JOBS[1])),
    )
    assert scale(ASSUMED_TERMS, [one, other]) == pytest.approx(4.0)


def test_another_shape_is_found_if_the_measurements_show_it() -> None:
    law = (0.5, 0.1, 0.1, 0.2, 0.02)
    found = fit_coefficients(ASSUMED_TERMS, samples(law) * 5)
    for job in JOBS:
        assert value(found, job) == pytest.approx(value(law, job), rel=0.03)


def test_outliers_hardly_move_a_fit() -> None:
    chance = random.Random(1)
    law = tuple(2 * coefficient for coefficient in ASSUMED_TERMS)
    wild = [
        Sample(sample.terms, sample.value * (3.0 if number % 10 == 0 else chance.uniform(0.97, 1.03)))
        for number, sample in enumerate(samples(law))
    ]
    found = fit_coefficients(ASSUMED_TERMS, wild)
    for job in JOBS:
        assert value(found, job) == pytest.approx(value(law, job), rel=0.05)


def test_no_coefficient_is_negative_even_if_the_best_fit_has_one() -> None:
    # A step that takes ever less per megapixel: without the bound, the square's coefficient is negative.
    bent = [Sample(job, 0.1 * job[2] * job[1] ** 0.3) for job in JOBS]
    found = fit_coefficients(ASSUMED_TERMS, bent * 20)
    assert min(found) == 0.0
    assert max(found) > 0.0


def test_a_coefficient_assumed_to_be_zero_stays_zero() -> None:
    found = fit_coefficients((0.0, 0.1, 0.01, 0.1, 0.0), samples(ASSUMED_TERMS))
    assert (found[0], found[4]) == (0.0, 0.0)
