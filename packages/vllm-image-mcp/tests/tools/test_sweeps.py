from collections.abc import Mapping, Sequence

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_mcp.tools.sweeps import expand_requests

SHARED = ImageRequest(prompt="", width=64, height=64)


def order(
    prompts: Sequence[str],
    sweep: object,
    *,
    seeds: Sequence[int] | None = None,
    shared: ImageRequest = SHARED,
) -> list[ImageRequest]:
    return expand_requests(prompts, seeds, sweep, shared=shared, draw_seed=lambda: 77)


def refused(prompts: Sequence[str], sweep: object, *, seeds: Sequence[int] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        order(prompts, sweep, seeds=seeds)
    assert caught.value.allowed in caught.value.message
    return caught.value


def test_without_a_sweep_there_is_one_request_for_each_prompt() -> None:
    assert order(["fox", "owl"], None, seeds=[1, 2]) == [
        ImageRequest(prompt="fox", width=64, height=64, seed=1),
        ImageRequest(prompt="owl", width=64, height=64, seed=2),
    ]


def test_a_sweep_of_two_parameters_is_a_grid_row_by_row_whose_columns_are_the_first() -> None:
    requests = order(["fox"], {"guidance_scale": [1, 2.5], "num_inference_steps": [4, 8]})
    assert [(each.guidance_scale, each.num_inference_steps) for each in requests] == [
        *((1, 4), (2.5, 4)),
        *((1, 8), (2.5, 8)),
    ]


def test_a_sweep_draws_one_seed_for_all_its_pictures_so_that_only_what_is_swept_differs() -> None:
    requests = order(["fox"], {"guidance_scale": [1, 2, 3]})
    assert [(each.seed, each.seed_drawn) for each in requests] == [(77, True)] * 3


def test_a_seed_that_is_given_holds_for_the_whole_sweep() -> None:
    requests = order(["fox"], {"guidance_scale": [1, 2]}, seeds=[5])
    assert [(each.seed, each.seed_drawn) for each in requests] == [(5, False)] * 2


@pytest.mark.parametrize("name", ["seed", "seeds"])
def test_seeds_may_be_swept(name: str) -> None:
    requests = order(["fox"], {name: [1, 2, 3]})
    assert [(each.seed, each.seed_drawn) for each in requests] == [(1, False), (2, False), (3, False)]


def test_a_sweep_of_twenty_pictures_is_the_largest() -> None:
    assert len(order(["fox"], {"seed": list(range(5)), "num_inference_steps": [1, 2, 3, 4]})) == 20
    error = refused(["fox"], {"seed": list(range(7)), "num_inference_steps": [1, 2, 3]})
    assert error.message.startswith("sweep asks for 7 x 3 = 21 images; a batch takes at most 20.")


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({}, "sweep has 0 parameters."),
        ({"seed": [1], "quality": ["best"], "guidance_scale": [1]}, "sweep has 3 parameters."),
        ({"seed": [1], "seeds": [2]}, "sweep has 2 parameters. Use one or two different parameters."),
        ({"width": [64]}, "sweep has 'width', which cannot be swept."),
        ({"x" * 1_000: [1]}, "which cannot be swept."),
        ({"seed": []}, "sweep does not have a list of values for 'seed'."),
        ({"seed": 3}, "sweep does not have a list of values for 'seed'."),
        ({"seed": "1, 2"}, "sweep does not have a list of values for 'seed'."),
        ([1, 2], "sweep: a list is not an object."),
        ("guidance_scale", "sweep: 'guidance_scale' is not an object."),
        (True, "sweep: True is not an object."),
    ],
)
def test_what_is_no_sweep_is_refused_in_words(sweep: object, words: str) -> None:
    error = refused(["fox"], sweep)
    assert words in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("prompts", [["fox", "owl"], ["fox"] * 20])
def test_a_sweep_takes_one_prompt(prompts: Sequence[str]) -> None:
    assert refused(prompts, {"seed": [1]}).message.startswith(
        f"A sweep varies one prompt, and prompts has {len(prompts)} entries."
    )


@pytest.mark.parametrize(
    ("given", "sweep"),
    [({"guidance_scale": 2.0}, {"guidance_scale": [1]}), ({"quality": "best"}, {"quality": ["draft"]})],
)
def test_a_parameter_is_given_or_swept(given: Mapping[str, object], sweep: object) -> None:
    shared = ImageRequest(prompt="", **given)  # type: ignore[arg-type] -- one of the two
    with pytest.raises(InvalidRequest, match="is given both as a value and in the sweep"):
        order(["fox"], sweep, shared=shared)


def test_seeds_are_given_or_swept() -> None:
    assert refused(["fox"], {"seed": [1, 2]}, seeds=[3]).message.startswith(
        "seeds is given both as a value and in the sweep."
    )
