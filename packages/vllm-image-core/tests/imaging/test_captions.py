"""A caption says what differs between the images of a sheet."""

import pytest
from vllm_image_core.imaging.captions import Described, differing_captions


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        ([], []),
        ([Described("a fox", {"seed": 1})], [""]),
        ([Described("a fox", {"seed": 1, "steps": 4}), Described("a fox", {"seed": 2, "steps": 4})],
         ["seed 1", "seed 2"]),
        ([Described("a fox", {"seed": 1, "steps": 4}), Described("a fox", {"seed": 2, "steps": None})],
         ["seed 1, steps 4", "seed 2"]),
        ([Described("a fox", {"seed": 1}), Described("a bird", {"seed": 2})], ["a fox", "a bird"]),
        ([Described("a lighthouse over a sea, in oil"), Described("a lighthouse over a sea, in ink")],
         ["… oil", "… ink"]),
        ([Described("a lighthouse over a sea"), Described("a lighthouse over a sea at night")],
         ["… sea", "… sea at night"]),
        ([Described("a fox", {"seed": 1}), Described("a fox", {"seed": 2}), Described("a bird", {"seed": 1})],
         ["a fox, seed 1", "a fox, seed 2", "a bird, seed 1"]),
        ([Described(""), Described("a fox")], ["", "a fox"]),
    ],
)  # fmt: skip
def test_captions_show_the_differences(images: list[Described], captions: list[str]) -> None:
    assert differing_captions(images) == captions


def test_long_prompts_are_cut_and_stay_on_one_line() -> None:
    first, _ = differing_captions([Described("a\nb " * 100), Described("c")])
    assert len(first) == 60
    assert "\n" not in first
