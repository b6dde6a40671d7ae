import itertools
from collections.abc import Mapping, Sequence

import pytest
from vllm_image_core.imaging.grid_axes import Value, grid_axes
from vllm_image_core.imaging.preview import Axis

Cells = Sequence[Mapping[str, Value]]


def product(**values: Sequence[Value]) -> Cells:
    """All combinations, the last name changing first."""
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def test_one_prompt_with_two_settings_row_by_row_is_a_grid() -> None:
    assert grid_axes(product(prompt=["a fox"], guidance_scale=[1.0, 2.5], seed=[7, 8, 9])) == (
        Axis("seed", ["7", "8", "9"]),
        Axis("guidance_scale", ["1", "2.5"]),
    )


def test_one_prompt_with_one_setting_is_a_row() -> None:
    assert grid_axes(product(prompt=["a fox"], seed=[7], num_inference_steps=[4, 8])) == (
        Axis("num_inference_steps", ["4", "8"]),
        Axis("", ["a fox"]),
    )


def test_three_prompts_by_four_seeds_by_three_values_are_columns_rows_and_blocks() -> None:
    cells = product(prompt=["a fox", "an owl", "a bear"], guidance_scale=[3, 4, 5], seed=[1, 2, 3, 4])
    assert grid_axes(cells) == (
        Axis("seed", ["1", "2", "3", "4"]),
        Axis("guidance_scale", ["3", "4", "5"]),
        Axis("prompt", ["a fox", "an owl", "a bear"]),
    )


def test_words_that_change_independently_are_separate_axes() -> None:
    texts = [
        f"{article} {colour} {animal} in the snow"
        for article, animal in (("a", "fox"), ("an", "owl"))
        for colour in ("red", "dark blue", "dark green")
    ]
    cells = [{"prompt": text, "seed": seed} for text in texts for seed in (1, 2)]
    assert grid_axes(cells) == (
        Axis("seed", ["1", "2"]),
        Axis("prompt", ["red", "dark blue", "dark green"]),
        Axis("prompt", ["a fox", "an owl"]),
    )


def test_settings_that_change_together_are_one_axis() -> None:
    cells = [
        {"prompt": "a fox", "width": w, "height": h, "seed": s} for w, h in ((1, 2), (2, 1)) for s in (5, 6)
    ]
    assert grid_axes(cells) == (Axis("seed", ["5", "6"]), Axis("width, height", ["1, 2", "2, 1"]))


@pytest.mark.parametrize(
    "cells",
    [
        product(seed=range(7)),  # too many for a row
        product(seed=[7]),  # nothing differs
        [{"seed": 1}, {"seed": 1}],
        [{"prompt": "a fox", "seed": 1}, {"prompt": "an owl", "seed": 2}],  # other prompts with other seeds
        [{"seed": 1, "a": 1}, {"seed": 2}],  # unknown of one
        [*product(a=[1, 2], b=[1, 2])][:3],
        product(a=[1, 2], b=[1, 2], c=[1, 2], d=[1, 2]),
        [],
    ],
)
def test_images_that_form_no_grid_have_no_axes(cells: Cells) -> None:
    assert grid_axes(cells) is None


def test_many_different_prompts_are_not_a_grid_and_are_compared_quickly() -> None:
    cells = [{"prompt": " ".join(f"w{number * word % 17}" for word in range(40))} for number in range(256)]
    assert grid_axes(cells) is None
