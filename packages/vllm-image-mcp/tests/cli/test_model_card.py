import re

import pytest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_mcp.cli.model_card import full, table

PROFILES = tuple(Registry.builtin())


def named(model: str) -> Profile:
    return Registry.builtin().find(model).profile


def test_the_table_has_a_line_for_each_model_under_one_header() -> None:
    header, *rows = table([named("FLUX.2-klein-4B"), named("Qwen-Image-Edit"), named("HiDream-I1-Full")])
    assert header.split() == ["MODEL", "TYPE", "STEPS", "GUIDANCE", "SIZE", "MEMORY", "INPUTS"]
    assert [re.split(r"  +", row)[2:] for row in rows] == [
        ["4", "1", "1024x1024", "16 GB", "4"],
        ["50", "4", "1024x1024", "57.7 GB", "1 (edit)"],
        ["50", "5", "1024x1024", "?", "-"],
    ]
    start = header.index("STEPS")
    assert all(row[start - 2 : start] == "  " and row[start] != " " for row in rows)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.model)
def test_a_full_card_has_every_source(profile: Profile) -> None:
    card = " ".join(full(profile).split())
    assert card.startswith(profile.model)
    for key, source in profile.sources.items():
        assert key in card
        assert " ".join(source.split()) in card


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_of_all_models_fits_on_a_terminal(width: int) -> None:
    header, *rows = table(PROFILES, width)
    assert max(map(len, (header, *rows))) <= width
    assert len(rows) == len(PROFILES)
    assert all(row.split()[0] in profile.model for row, profile in zip(rows, PROFILES, strict=True))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.model)
def test_a_full_card_is_written_for_readers(profile: Profile) -> None:
    card = full(profile)
    assert not re.search(r"[a-z_]='|\{'|<.* at 0x", card)


def test_a_full_card_shows_presets_cost_and_names() -> None:
    card = " ".join(full(named("Ovis-Image-7B")).split())
    assert "aliases OvisAI/Ovis-Image, ATH-MaaS/Ovis-Image-7B" in card
    assert "quality draft: num_inference_steps 25" in card
    assert "cost fixed_seconds 0.05, seconds_per_megapixel 0.07" in card
    assert "text_to_image yes" in card


def test_a_full_card_keeps_to_a_hundred_columns_if_its_words_allow_it() -> None:
    assert max(map(len, full(named("Qwen-Image")).splitlines())) <= 100
    assert max(map(len, full(named("Qwen-Image"), 200).splitlines())) <= 100
    assert max(map(len, full(named("Anima"), 76).splitlines())) <= 76
