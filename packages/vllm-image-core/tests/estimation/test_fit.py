import random

import pytest
from vllm_image_core.estimation.cost_model import Sample, fit_coefficients, scale, value

ASSUMED = (0.06, 0.08, 0.013, 0.064, 0.013)


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


def test_nothing_measured_leaves_the_assumed_law() -> None:
    assert fit_coefficients(ASSUMED, []) == ASSUMED
    assert scale(ASSUMED, []) == 1.0


def test_one_measurement_moves_the_whole_law_by_one_factor() -> None:
    job = terms(1.05, 4)
    law = fit_coefficients(ASSUMED, [Sample(job, 3 * value(ASSUMED, job))])
    assert law == pytest.approx([3 * coefficient for coefficient in ASSUMED])


def test_the_factor_is_the_median_ratio_and_a_wild_one_does_not_move_it() -> None:
    usual = [Sample(job, 2.0 * value(ASSUMED, job)) for job in JOBS[:4]]
    wild = Sample(JOBS[4], 50.0 * value(ASSUMED, JOBS[4]))
    assert scale(ASSUMED, [*usual, wild]) == pytest.approx(2.0)


def test_of_two_measurements_the_factor_is_the_geometric_mean() -> None:
    one, other = (
        Sample(JOBS[0], 2 * value(ASSUMED, JOBS[0])),
        Sample(JOBS[1], 8 * value(ASSUMED, JOBS[1])),
    )
    assert scale(ASSUMED, [one, other]) == pytest.approx(4.0)


def test_another_shape_is_found_where_the_measurements_tell_it() -> None:
    law = (0.5, 0.1, 0.1, 0.2, 0.02)
    found = fit_coefficients(ASSUMED, samples(law) * 5)
    for job in JOBS:
        assert value(found, job) == pytest.approx(value(law, job), rel=0.03)


def test_wild_measurements_hardly_move_a_fit() -> None:
    chance = random.Random(1)
    law = tuple(2 * coefficient for coefficient in ASSUMED)
    wild = [
        Sample(sample.terms, sample.value * (3.0 if number % 10 == 0 else chance.uniform(0.97, 1.03)))
        for number, sample in enumerate(samples(law))
    ]
    found = fit_coefficients(ASSUMED, wild)
    for job in JOBS:
        assert value(found, job) == pytest.approx(value(law, job), rel=0.05)


def test_no_coefficient_is_below_zero_where_the_best_fit_has_one() -> None:
    # A step that takes ever less per megapixel: without the bound, the square's coefficient is negative.
    bent = [Sample(job, 0.1 * job[2] * job[1] ** 0.3) for job in JOBS]
    found = fit_coefficients(ASSUMED, bent * 20)
    assert min(found) == 0.0
    assert max(found) > 0.0


def test_a_coefficient_that_is_assumed_to_be_nothing_stays_nothing() -> None:
    found = fit_coefficients((0.0, 0.1, 0.01, 0.1, 0.0), samples(ASSUMED))
    assert (found[0], found[4]) == (0.0, 0.0)
