import pytest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_mcp.cli.model_card import brief, full

PROFILES = tuple(Registry.builtin())


def named(model: str) -> Profile:
    return Registry.builtin().find(model).profile


def test_a_brief_card_has_the_usual_settings_memory_and_sizes() -> None:
    assert brief(named("FLUX.2-klein-4B")).splitlines() == [
        "black-forest-labs/FLUX.2-klein-4B",
        "  distilled, 4 steps, guidance 1, 1024x1024, about 16 GB, edits up to 4 images",
        "  1:1 1024x1024, 16:9 1024x576, 9:16 576x1024, 4:3 1024x768, 3:4 768x1024",
    ]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Qwen-Image-Edit", "only edits up to 1 image"),
        ("HiDream-I1-Full", "memory unknown"),
        ("Qwen-Image", "about 57.7 GB"),
    ],
)
def test_a_brief_card_tells_what_a_model_is_for_and_what_nobody_knows(model: str, said: str) -> None:
    assert brief(named(model)).splitlines()[1].endswith(said)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.model)
def test_a_full_card_has_every_source(profile: Profile) -> None:
    card = " ".join(full(profile).split())
    assert card.startswith(profile.model)
    for key, source in profile.sources.items():
        assert key in card
        assert " ".join(source.split()) in card


def test_a_full_card_shows_presets_cost_and_names() -> None:
    card = " ".join(full(named("Ovis-Image-7B")).split())
    assert "aliases OvisAI/Ovis-Image, ATH-MaaS/Ovis-Image-7B" in card
    assert "quality draft: num_inference_steps 25" in card
    assert "cost fixed_seconds 0.05, seconds_per_megapixel 0.07" in card
    assert "text_to_image yes" in card


def test_a_full_card_keeps_to_a_hundred_columns_where_words_allow_it() -> None:
    assert max(map(len, full(named("Qwen-Image")).splitlines())) <= 100
