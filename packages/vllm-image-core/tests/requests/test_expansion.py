import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.expansion import Expansion, PromptSource, Variations
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.sweep import MOST_IMAGES
from vllm_image_core.requests.wildcards import Wildcards

SHARED = ImageRequest(prompt="", num_inference_steps=4)


def expansion(shared: ImageRequest = SHARED, **variations: object) -> Expansion:
    """An expansion that draws the seeds 77, 78 and so on."""
    seeds = itertools.count(77)
    varied = Variations(**cast("Any", variations))
    return Expansion(varied, shared=shared, wildcards=Wildcards(), draw_seed=lambda: next(seeds))


def expand(
    *prompts: PromptSource,
    seeds: Sequence[int] | None = None,
    shared: ImageRequest = SHARED,
    **variations: object,
) -> list[ImageRequest]:
    return expansion(shared=shared, **variations).expand(prompts, seeds=seeds, most=MOST_IMAGES)


def refused(*prompts: PromptSource, **how: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        expand(*prompts, **cast("Any", how))
    assert caught.value.allowed in caught.value.message or caught.value.next_step
    return caught.value


def test_without_variations_there_is_one_request_for_each_prompt() -> None:
    assert expand("fox", "owl", seeds=[1, 2]) == [
        ImageRequest(prompt="fox", num_inference_steps=4, seed=1),
        ImageRequest(prompt="owl", num_inference_steps=4, seed=2),
    ]
    assert [each.seed for each in expand("fox", "owl")] == [None, None]


def test_a_count_gives_each_prompt_as_many_images_with_the_same_drawn_seeds() -> None:
    requests = expand("fox", "owl", count=3)
    assert [(each.prompt, each.seed, each.seed_drawn) for each in requests] == [
        *(("fox", 77, True), ("fox", 78, True), ("fox", 79, True)),
        *(("owl", 77, True), ("owl", 78, True), ("owl", 79, True)),
    ]


def test_a_count_continues_from_the_given_seed() -> None:
    assert [each.seed for each in expand("fox", "owl", seeds=[5, -1], count=2)] == [5, 6, 77, 78]


def test_three_prompts_four_seeds_and_three_values_are_thirty_six_images_row_by_row() -> None:
    sweep = {"seed": [1, 2, 3, 4], "guidance_scale": [3, 4, 5]}
    requests = expand("fox", "owl", "bear", sweep=sweep)
    assert [(each.prompt, each.guidance_scale, each.seed) for each in requests] == [
        (prompt, scale, seed)
        for prompt in ("fox", "owl", "bear")
        for scale in (3, 4, 5)
        for seed in (1, 2, 3, 4)
    ]


def test_a_sweep_draws_one_seed_for_all_its_images_so_that_only_what_is_swept_differs() -> None:
    requests = expand("fox", "owl", sweep={"guidance_scale": [1, 2]})
    assert [(each.seed, each.seed_drawn) for each in requests] == [(77, True)] * 4
    assert [each.seed for each in expand("fox", seeds=[5], sweep={"guidance_scale": [1, 2]})] == [5, 5]


def test_a_count_and_a_sweep_are_all_combinations() -> None:
    requests = expand("fox", sweep={"quality": ["draft", "best"]}, count=2)
    assert [(each.quality, each.seed) for each in requests] == [
        *(("draft", 77), ("best", 77)),
        *(("draft", 78), ("best", 78)),
    ]


@pytest.mark.parametrize("name", ["seed", "seeds"])
def test_seeds_may_be_swept(name: str) -> None:
    assert [each.seed for each in expand("fox", sweep={name: [1, 2, 3]})] == [1, 2, 3]


def test_sizes_are_swept_as_width_and_height() -> None:
    requests = expand("fox", sweep={"size": ["512x512", "768 X 512"]})
    assert [(each.width, each.height) for each in requests] == [(512, 512), (768, 512)]
    assert "is not a size" in refused("fox", sweep={"size": ["large"]}).message


def test_words_of_the_prompt_are_replaced_all_at_once() -> None:
    requests = expand("a red fox, red leaves", sweep={"red": ["red", "blue"], "fox": ["fox", "red owl"]})
    assert [each.prompt for each in requests] == [
        *("a red fox, red leaves", "a blue fox, blue leaves"),
        *("a red red owl, red leaves", "a blue red owl, blue leaves"),
    ]


def test_a_name_in_braces_is_replaced_with_its_braces() -> None:
    requests = expand("a {animal} in the {seed}", sweep={"animal": ["fox", "owl"], "{seed}": ["snow", "sun"]})
    assert [each.prompt for each in requests] == [
        *("a fox in the snow", "a owl in the snow"),
        *("a fox in the sun", "a owl in the sun"),
    ]


def test_lists_may_be_paired_instead_of_combined() -> None:
    requests = expand("fox", sweep={"width": [512, 768], "height": [768, 512], "seed": [1, 2]}, zip=True)
    assert [(each.width, each.height, each.seed) for each in requests] == [(512, 768, 1), (768, 512, 2)]
    error = refused("fox", sweep={"width": [512, 768], "height": [768]}, zip=True)
    assert error.message.startswith("sweep pairs lists of different lengths: width 2, height 1.")


def test_a_prompt_may_be_an_object_with_settings_of_its_own() -> None:
    shared = ImageRequest(prompt="", aspect_ratio="1:1", num_inference_steps=4, output_format="webp")
    one, other = expand(
        {
            "prompt": "fox",
            "size": "512x768",
            "steps": 8,
            "seed": 3,
            "filename": "fox",
            "output_format": "png",
        },
        {"prompt": "owl", "negative_prompt": None},
        shared=shared,
    )
    assert one == ImageRequest(
        prompt="fox",
        width=512,
        height=768,
        num_inference_steps=8,
        seed=3,
        filename="fox",
        output_format="png",
    )
    assert other == ImageRequest(
        prompt="owl", aspect_ratio="1:1", num_inference_steps=4, output_format="webp"
    )


def test_a_prompt_may_have_variations_of_its_own() -> None:
    requests = expand({"prompt": "fox", "count": 2}, {"prompt": "owl", "sweep": {"seed": [1]}}, "bear")
    assert [(each.prompt, each.seed) for each in requests] == [
        *(("fox", 77), ("fox", 78)),
        *(("owl", 1), ("bear", None)),
    ]


def test_an_edit_is_varied_like_any_request() -> None:
    edit = EditRequest(prompt="make it red", images=b"", strength=0.5)
    requests = expand(edit, sweep={"red": ["red", "blue"]}, count=2)
    assert [(each.prompt, each.seed, each.num_inference_steps) for each in requests] == [
        *(("make it red", 77, 4), ("make it blue", 77, 4)),
        *(("make it red", 78, 4), ("make it blue", 78, 4)),
    ]
    assert all(isinstance(each, EditRequest) and each.strength == 0.5 for each in requests)
    fixed = EditRequest(prompt="make it red", images=b"")
    assert len(expand(fixed, sweep={"strength": [0.2, 0.4]})) == 2
    assert "cannot be swept here" in refused("fox", sweep={"strength": [0.2, 0.4]}).message


def test_a_literal_brace_or_bar_stays_as_it_is_unless_wildcards_are_requested() -> None:
    text = "the code {red|blue} and __init__ on a screen"
    assert [each.prompt for each in expand(text)] == [text]


def test_wildcards_give_each_combination_or_random_ones_with_a_count() -> None:
    prompts = [each.prompt for each in expand("a {red|blue} {fox|owl}", wildcards=True)]
    assert prompts == ["a red fox", "a red owl", "a blue fox", "a blue owl"]
    picked = expand("a {red|blue} {fox|owl}", wildcards=True, count=20)
    assert len(picked) == 20
    assert {each.prompt for each in picked} == set(prompts)
    assert picked == expand("a {red|blue} {fox|owl}", wildcards=True, count=20)


def test_a_shared_filename_is_numbered_and_a_folder_gets_only_numbers() -> None:
    shared = ImageRequest(prompt="", filename="hero/left.webp")
    assert [each.filename for each in expand("fox", "owl", shared=shared)] == [
        *("hero/left_1.webp", "hero/left_2.webp"),
    ]
    assert [each.filename for each in expand("fox", shared=shared)] == ["hero/left.webp"]
    folder = ImageRequest(prompt="", filename="web/")
    names = [
        each.filename for each in expand("fox", {"prompt": "owl", "filename": "owl"}, "a", shared=folder)
    ]
    assert names == ["web/1", "owl", "web/2"]
    assert [each.filename for each in expand("fox", shared=folder, count=10)][-2:] == ["web/09", "web/10"]
    own = [each.filename for each in expand({"prompt": "fox", "filename": "fox.png", "count": 2})]
    assert own == ["fox_1.png", "fox_2.png"]


def test_a_batch_has_at_most_a_thousand_images() -> None:
    assert len(expand(*["fox"] * 20, count=50)) == MOST_IMAGES
    error = refused(*["fox"] * 20, count=51)
    assert error.message.startswith("The prompts ask for 1020 images in all; a batch takes at most 1000.")
    error = refused(
        "fox",
        sweep={"seed": list(range(101)), "num_inference_steps": range(1, 11)},
        shared=ImageRequest(prompt=""),
    )
    assert error.message.startswith("sweep asks for 101 x 10 = 1010 images; a batch takes at most 1000.")
    error = refused("fox", sweep={"quality": ["draft", "best"]}, count=501)
    assert error.message.startswith("One prompt asks for 1002 images; a batch takes at most 1000.")


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({}, "sweep has 0 parameters."),
        ({"seed": [1], "quality": ["best"], "guidance_scale": [1], "width": [64]}, "sweep has 4 parameters."),
        ({"seed": [1], "seeds": [2]}, "sweep has seed twice, under two names."),
        ({"filename": ["a"]}, "sweep has 'filename', which cannot be swept here."),
        ({"x" * 1_000: [1]}, "which is neither a parameter nor in the prompt."),
        ({"seed": []}, "sweep does not have a list of values for 'seed'."),
        ({"seed": 3}, "sweep does not have a list of values for 'seed'."),
        ({"seed": "1, 2"}, "sweep does not have a list of values for 'seed'."),
        ([1, 2], "sweep: a list is not an object."),
        ("guidance_scale", "sweep: 'guidance_scale' is not an object."),
        (True, "sweep: True is not an object."),
    ],
)
def test_anything_but_a_sweep_is_refused_with_an_explanation(sweep: object, words: str) -> None:
    error = refused("fox", sweep=sweep)
    assert words in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("given", "sweep"),
    [
        ({"guidance_scale": 2.0}, {"guidance_scale": [1]}),
        ({"quality": "best"}, {"quality": ["draft"]}),
        ({"width": 64}, {"size": ["64x64"]}),
    ],
)
def test_a_parameter_is_either_given_or_swept(given: Mapping[str, object], sweep: object) -> None:
    shared = ImageRequest(prompt="", **given)  # type: ignore[arg-type] -- one of the two
    assert "is given both as a value and in the sweep" in refused("fox", shared=shared, sweep=sweep).message


def test_seeds_are_given_once() -> None:
    assert refused("fox", seeds=[3], sweep={"seed": [1, 2]}).message.startswith("seeds is given both as")
    assert refused({"prompt": "fox", "seed": 1}, seeds=[3]).message.startswith("seed is given both as")
    assert refused("fox", count=2, sweep={"seed": [1, 2]}).message.startswith("count and a sweep of seed")
    error = refused("fox", "owl", seeds=[3])
    assert error.message.startswith("seeds has 1 entries for 2 prompts. Use one seed for each prompt")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (7, "A prompt is 7, which is neither text nor an object."),
        ({"prompt": "fox", "colour": "red"}, "A prompt has no field 'colour'."),
        ({"prompt": "fox", "steps": 4, "num_inference_steps": 4}, "sets num_inference_steps twice"),
        ({"width": 512}, "A prompt given as an object has no prompt."),
        ({"prompt": "fox", "size": "64x64", "width": 64}, "sets size and width, height or aspect_ratio"),
        ({"prompt": "fox", "count": 0}, "count: 0 is out of range."),
        ({"prompt": "fox", "zip": "yes"}, "zip: 'yes' is neither true nor false."),
    ],
)
def test_anything_but_a_prompt_is_refused_with_its_place(prompt: object, words: str) -> None:
    error = refused("owl", cast("Any", prompt))
    assert words in error.message
    assert error.__notes__ == ["This is prompt 1 of the list, counted from 0."]


async def test_prompts_of_an_iterator_are_expanded_as_they_come() -> None:
    def prompts() -> Iterator[PromptSource]:
        yield "fox"
        yield {"prompt": "owl"}
        raise ZeroDivisionError

    async def more() -> AsyncIterator[str]:
        yield "fox"

    shared = ImageRequest(prompt="", filename="a")
    requests = expansion(count=2, shared=shared).requests(prompts())
    assert isinstance(requests, Iterator)
    found = [next(requests) for _ in range(4)]
    assert [(each.prompt, each.filename) for each in found] == [
        *(("fox", "a_1"), ("fox", "a_2")),
        *(("owl", "a_3"), ("owl", "a_4")),
    ]
    with pytest.raises(ZeroDivisionError):
        next(requests)
    later = expansion(count=2).requests(more())
    assert isinstance(later, AsyncIterator)
    assert [each.prompt async for each in later] == ["fox", "fox"]
