import math

import pytest
from vllm_image_core.estimation.backlog import Load
from vllm_image_core.estimation.predictor import GB_PER_MIB, Predictor
from vllm_image_core.estimation.work import Work
from vllm_image_core.models.registry import Registry

REGISTRY = Registry.builtin()
KLEIN = REGISTRY.find("FLUX.2-klein-4B").profile
WORK = Work(megapixels=1.048576, forwards=4)
LARGE = Work(megapixels=4.194304, forwards=8)


def test_without_measurements_the_profile_is_used_and_the_basis_says_so() -> None:
    predictor = Predictor(KLEIN)
    assert predictor.seconds(WORK) == pytest.approx(KLEIN.cost.seconds(megapixels=1.048576, forwards=4))
    assert predictor.basis == "nothing measured yet: from the profile, may be off by half"
    assert (predictor.pictures, predictor.error, predictor.usual_seconds) == (0, None, None)


def test_without_measurements_of_an_unknown_model_the_basis_says_that_it_is_a_guess() -> None:
    assert "a guess, because this model is unknown" in Predictor(REGISTRY.fallback).basis


def test_the_basis_counts_the_images_and_says_how_far_off_the_last_were() -> None:
    predictor = Predictor(KLEIN)
    for number in range(23):
        predictor.observe(WORK, 2.0 if number % 2 else 2.2)
    assert predictor.basis == "23 images on this server, off by 5 % on the last 20"


def test_the_basis_for_few_images_does_not_claim_more() -> None:
    predictor = Predictor(KLEIN)
    predictor.observe(WORK, 2.0, first=True)
    assert predictor.basis == "1 image on this server, the first one, which may have been slower"
    predictor.observe(WORK, 2.0)
    assert predictor.basis == "2 images on this server, too few to say how far off"
    predictor.observe(WORK, 2.0)
    assert predictor.basis == "3 images on this server, off by 1 % on the last one"


def test_the_basis_mentions_a_change_of_the_server() -> None:
    predictor = Predictor(KLEIN)
    for seconds in [1.0] * 20 + [2.0] * 6:
        predictor.observe(WORK, seconds)
    assert predictor.changes == 1
    assert predictor.basis == "6 images since this server changed its speed, off by 1 % on the last 3"
    assert predictor.seconds(WORK) == pytest.approx(2.0, rel=0.01)


def test_one_image_predicts_others_by_the_shape_of_the_profile() -> None:
    predictor = Predictor(KLEIN)
    before = predictor.seconds(LARGE) / predictor.seconds(WORK)
    predictor.observe(WORK, 5.0)
    assert predictor.seconds(WORK) == pytest.approx(5.0)
    assert predictor.seconds(LARGE) == pytest.approx(5.0 * before)


def test_a_load_takes_as_long_as_its_images_one_after_another() -> None:
    predictor = Predictor(KLEIN)
    predictor.observe(WORK, 5.0)
    both = predictor.seconds_of((Load.of(WORK) + Load.of(LARGE)).terms)
    assert both == pytest.approx(predictor.seconds(WORK) + predictor.seconds(LARGE))


@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_impossible_measurements_are_skipped(number: float) -> None:
    predictor = Predictor(KLEIN)
    predictor.observe(WORK, number, peak_mib=number)
    assert (predictor.pictures, predictor.peaks) == (0, 0)


def test_memory_is_learned_from_what_the_server_reports() -> None:
    predictor = Predictor(KLEIN)
    assert predictor.peak_gb(WORK) == pytest.approx(18.0)
    assert predictor.memory_basis == "from the profile"
    for work in (WORK, LARGE, WORK, LARGE, WORK):
        predictor.observe(work, 1.0, peak_mib=(20.0 + 3.0 * work.megapixels) / GB_PER_MIB)
    middle = Work(megapixels=2.0, forwards=4)
    assert predictor.peak_gb(middle) == pytest.approx(26.0, rel=0.03)
    assert predictor.memory_basis == "measured by the server during 5 images"


def test_the_memory_of_an_unknown_model_is_known_after_one_image() -> None:
    predictor = Predictor(REGISTRY.fallback)
    assert (predictor.peak_gb(WORK), predictor.memory_basis) == (None, "not known")
    predictor.observe(WORK, 1.0, peak_mib=30.0 / GB_PER_MIB)
    assert predictor.peak_gb(WORK) == pytest.approx(30.0)
    assert (predictor.peak_gb(LARGE) or 0) > 30.0
