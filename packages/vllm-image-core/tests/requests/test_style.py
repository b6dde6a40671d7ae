"""A style has words around the prompt and settings, some of them for certain models only."""

import pytest
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.style import Style

REGISTRY = Registry.builtin()


@pytest.mark.parametrize(
    ("prefix", "suffix", "styled"),
    [
        ("", "", "a fox"),
        ("a sketch of", "", "a sketch of a fox"),
        ("a sketch of ", ", in ink", "a sketch of a fox, in ink"),
        ("", "in ink", "a fox in ink"),
    ],
)
def test_words_are_joined_as_one_sentence(prefix: str, suffix: str, styled: str) -> None:
    assert Style(name="ink", prefix=prefix, suffix=suffix).styled("a fox") == styled


def test_the_longest_part_of_a_model_name_wins_and_overrides_the_common_settings() -> None:
    style = Style(
        name="ink",
        suffix=", in ink",
        settings={"guidance_scale": 3, "lora": "/loras/ink"},
        models={"qwen": {"guidance_scale": 4}, "Qwen-Image-2512": {"guidance_scale": 5, "suffix": ", inked"}},
    )
    found = [
        style.for_model(profile)
        for name in ("Qwen/Qwen-Image", "Qwen/Qwen-Image-2512", "Tongyi-MAI/Z-Image-Turbo")
        if (profile := REGISTRY.by_name(name))
    ]
    assert [(each.suffix, each.settings) for each in found] == [
        (", in ink", {"guidance_scale": 4, "lora": "/loras/ink"}),
        (", inked", {"guidance_scale": 5, "lora": "/loras/ink"}),
        (", in ink", {"guidance_scale": 3, "lora": "/loras/ink"}),
    ]


def test_a_table_contains_only_what_is_set() -> None:
    style = Style(name="ink", suffix=", in ink", models={"qwen": {}})
    assert style.as_table() == {"suffix": ", in ink"}
    assert Style(name="ink").as_table() == {}
