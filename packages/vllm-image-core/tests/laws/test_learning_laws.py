"""What holds for every server, whatever it was measured to take."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.estimation.backlog import Backlog, ServerSpeed
from vllm_image_core.estimation.calibration import ServiceClock
from vllm_image_core.estimation.cost_model import Sample, fit_coefficients, value
from vllm_image_core.estimation.predictor import Predictor
from vllm_image_core.estimation.work import Work, coefficients
from vllm_image_core.models.registry import Registry

REGISTRY = Registry.builtin()
profiles = st.sampled_from((*REGISTRY.profiles, REGISTRY.fallback))
works = st.builds(
    Work,
    megapixels=st.floats(0.0002, 34.0, allow_nan=False),
    forwards=st.integers(1, 400),
)
seconds = st.floats(1e-3, 1e5)
measured = st.lists(st.tuples(works, seconds, st.floats(100, 1e6), st.booleans()), max_size=40)


def learned(profile: object, measurements: list[tuple[Work, float, float, bool]]) -> Predictor:
    predictor = Predictor(profile)  # type: ignore[arg-type]  # from the strategy
    for work, taken, peak_mib, first in measurements:
        predictor.observe(work, taken, peak_mib=peak_mib, first=first)
    return predictor


@given(profiles, measured, works, st.integers(0, 400), st.floats(0, 34))
def test_more_steps_or_pixels_never_cost_less_even_after_learning(
    profile: object,
    measurements: list[tuple[Work, float, float, bool]],
    work: Work,
    more_forwards: int,
    more_megapixels: float,
) -> None:
    predictor = learned(profile, measurements)
    larger = Work(megapixels=work.megapixels + more_megapixels, forwards=work.forwards + more_forwards)
    assert 0 <= predictor.seconds(work) <= predictor.seconds(larger) * (1 + 1e-12) < math.inf
    assert (predictor.peak_gb(work) or 0) <= (predictor.peak_gb(larger) or 0) * (1 + 1e-12)


@given(profiles, measured)
def test_a_prediction_always_states_its_basis(
    profile: object, measurements: list[tuple[Work, float, float, bool]]
) -> None:
    predictor = learned(profile, measurements)
    assert 0 <= predictor.pictures <= len(measurements)
    assert predictor.basis.startswith("nothing measured yet" if not measurements else str(predictor.pictures))


@given(profiles, st.lists(st.tuples(works, seconds), min_size=1, max_size=30), st.randoms())
def test_the_order_of_the_measurements_does_not_matter_for_a_fit(
    profile: object, measurements: list[tuple[Work, float]], chance: random.Random
) -> None:
    assumed = coefficients(profile.cost)  # type: ignore[attr-defined]  # from the strategy
    samples = [Sample(work.terms, taken) for work, taken in measurements]
    shuffled = chance.sample(samples, len(samples))
    for sample in samples:
        one, other = (value(fit_coefficients(assumed, order), sample.terms) for order in (samples, shuffled))
        assert math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)


@given(profiles, works, st.floats(0.01, 100))
def test_a_server_that_is_faster_or_slower_by_a_factor_is_known_after_one_image(
    profile: object, work: Work, factor: float
) -> None:
    predictor = Predictor(profile)  # type: ignore[arg-type]  # from the strategy
    before = predictor.seconds(work)
    predictor.observe(work, factor * before)
    assert math.isclose(predictor.seconds(work), factor * before, rel_tol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1e4), st.none() | st.floats()), max_size=30))
def test_service_time_is_never_negative_and_never_longer_than_the_total(
    pictures: list[tuple[float, float, float | None]],
) -> None:
    clock = ServiceClock()
    for ended, elapsed, generation in pictures:
        service = clock.service_seconds(ended, elapsed, generation=generation)
        assert service is None or 0 < service <= elapsed * (1 + 1e-9) + 1e-9


@given(
    st.lists(works, min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["began", "ended", "returned"])), max_size=40),
    st.integers(1, 4),
    measured,
)
def test_an_eta_is_never_negative_and_ends_at_zero(
    jobs: list[Work],
    events: list[tuple[float, str]],
    parallelism: int,
    measurements: list[tuple[Work, float, float, bool]],
) -> None:
    now = 0.0
    remaining = Backlog(timer=lambda: now)
    speed = ServerSpeed(predictor=learned(REGISTRY.fallback, measurements), parallelism=parallelism)
    for job in jobs:
        remaining.add(job)
    waiting, in_progress = list(range(len(jobs))), list[int]()
    for passed, event in events:
        now += passed
        if event == "began" and waiting:
            in_progress.append(waiting.pop())
            remaining.mark_sent(in_progress[-1], jobs[in_progress[-1]])
        elif event == "ended" and in_progress:
            remaining.mark_ended(in_progress.pop(0), generated=True)
        elif event == "returned" and in_progress:
            waiting.append(in_progress.pop(0))
            remaining.mark_returned(waiting[-1])
        told = remaining.eta([speed]).seconds
        assert told is not None
        assert 0 <= told < math.inf
        assert remaining.load.pictures == len(waiting) + len(in_progress)
    if not waiting and not in_progress:
        assert remaining.eta([speed]).seconds == 0
