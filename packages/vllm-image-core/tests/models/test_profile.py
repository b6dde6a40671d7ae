import copy
import json
import pickle
import tomllib
from importlib import resources

import pytest
from pydantic import ValidationError
from vllm_image_core.errors import BadProfile, InvalidRequest
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.loader import read_profile
from vllm_image_core.models.profile import CostLaw, Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_support import check_edit_support

KLEIN = (resources.files("vllm_image_core") / "profiles" / "flux-2-klein-4b.toml").read_text("utf-8")


def klein(was: str = "", becomes: str = "") -> Profile:
    assert was in KLEIN
    return read_profile(KLEIN.replace(was, becomes, 1) if was else KLEIN, file="klein.toml")


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("black-forest-labs/FLUX.2-klein-4B", ("distilled", 4, 1.0, False, 16.0)),
        ("black-forest-labs/FLUX.2-klein-9B", ("distilled", 4, 1.0, False, 34.7)),
        ("Qwen/Qwen-Image-2512", ("standard", 28, 5.0, True, 57.7)),
        ("Qwen/Qwen-Image", ("standard", 50, 5.0, True, 57.7)),
        ("Tongyi-MAI/Z-Image", ("standard", 50, 5.0, True, 20.6)),
        ("Tongyi-MAI/Z-Image-Turbo", ("distilled", 9, 0.0, False, 20.6)),
    ],
)
def test_the_profiles_have_the_numbers_of_the_plan_and_the_memory_of_the_table(
    model: str, row: tuple[object, ...]
) -> None:
    profile = Registry.builtin().find(model).profile
    assert profile.model == model
    assert row == (
        profile.type,
        profile.default_steps,
        profile.default_guidance_scale,
        profile.supports_negative_prompt,
        profile.estimated_vram_gb,
    )
    assert (profile.default_size, profile.max_resolution_mp, profile.resolution_multiple) == (
        Size(1024, 1024),
        4.0,
        16,
    )


def test_the_aspect_ratios_of_the_plan_have_its_sizes() -> None:
    def sizes(model: str) -> dict[str, str]:
        ratios = Registry.builtin().find(model).profile.supported_aspect_ratios
        return {name: str(size) for name, size in ratios.items()}

    flux = {"1:1": "1024x1024", "16:9": "1024x576", "9:16": "576x1024", "4:3": "1024x768", "3:4": "768x1024"}
    qwen = {"1:1": "1328x1328", "16:9": "1664x928", "9:16": "928x1664"}
    more = {"4:3": "1472x1104", "3:4": "1104x1472", "3:2": "1584x1056", "2:3": "1056x1584"}
    assert sizes("FLUX.2-klein-4B") == sizes("FLUX.2-klein-9B") == flux
    assert sizes("Qwen-Image") == qwen
    assert sizes("Qwen-Image-2512") == qwen | more
    assert sizes("Z-Image-Turbo")["1:1"] == "1024x1024"
    assert {"16:9", "9:16", "4:3", "3:4", "3:2", "2:3"} < set(sizes("Z-Image-Turbo"))


def test_every_number_that_is_shipped_names_a_source_that_a_reader_can_find() -> None:
    registry = Registry.builtin()
    for profile in (*registry.profiles, registry.fallback):
        numbers = {
            key
            for key, value in profile.model_dump(exclude_unset=True).items()
            if isinstance(value, int | float | dict) and value != {} and key != "sources"
        }
        assert numbers <= set(profile.sources)
        for source in profile.sources.values():
            assert len(source) > len("Not known")
            assert "/work" not in source
            assert "shared/" not in source


def test_a_number_without_a_source_is_refused() -> None:
    line = next(line for line in KLEIN.splitlines() if line.startswith('default_steps = "'))
    with pytest.raises(BadProfile, match=r"^klein\.toml: .*\[sources\] has no source for default_steps$"):
        klein(line)


def test_a_blank_source_does_not_count() -> None:
    line = next(line for line in KLEIN.splitlines() if line.startswith("cost = "))
    with pytest.raises(BadProfile, match="has no source for cost"):
        klein(line, 'cost = " "')


def test_a_source_for_a_missing_value_is_refused() -> None:
    with pytest.raises(BadProfile, match="names default_stepz"):
        klein("[sources]\n", '[sources]\ndefault_stepz = "a typo"\n')


@pytest.mark.parametrize(
    ("was", "becomes", "key"),
    [
        ("default_steps = 4\n", "default_steps = 0\n", "default_steps"),
        ("default_steps = 4\n", "default_steps = 201\n", "default_steps"),
        ("default_steps = 4\n", "default_steps = true\n", "default_steps"),
        ("default_steps = 4\n", 'default_steps = "4"\n', "default_steps"),
        ("default_guidance_scale = 1.0\n", "default_guidance_scale = nan\n", "default_guidance_scale"),
        ("estimated_vram_gb = 16.0\n", "estimated_vram_gb = inf\n", "estimated_vram_gb"),
        ("estimated_vram_gb = 16.0\n", "estimated_vram_gb = -1\n", "estimated_vram_gb"),
        ("step_seconds = 0.0128\n", "step_seconds = -0.1\n", "cost.step_seconds"),
        ('type = "distilled"\n', 'type = "turbo"\n', "type"),
        (
            "[supported_aspect_ratios]\n",
            "[supported_aspect_ratios]\n'2:1' = [2048]\n",
            "supported_aspect_ratios.2:1",
        ),
        (
            "[supported_aspect_ratios]\n",
            "[supported_aspect_ratios]\n'2:1' = [-16, 16]\n",
            "supported_aspect_ratios.2:1",
        ),
        ("resolution_multiple = 16\n", "", "resolution_multiple"),
        ("resolution_multiple = 16\n", "resolution_multiple = 16\ncolour = 'red'\n", "colour"),
    ],
)
def test_a_value_that_is_out_of_range_is_refused_with_its_file_and_key(
    was: str, becomes: str, key: str
) -> None:
    with pytest.raises(BadProfile) as caught:
        klein(was, becomes)
    assert caught.value.message.startswith(f"klein.toml: {key}")


def test_a_size_that_breaks_the_profile_s_own_rules_is_refused() -> None:
    with pytest.raises(BadProfile, match="16:9: 1000x576 is not valid; both sides must be multiples of 16"):
        klein("[1024, 576]", "[1000, 576]")
    with pytest.raises(BadProfile, match="16:9: 4096x1024 is not valid; the limit is 4 megapixels"):
        klein("[1024, 576]", "[4096, 1024]")
    with pytest.raises(BadProfile, match="default_width, default_height: 1024x1000"):
        klein("default_height = 1024\n", "default_height = 1000\n")


def test_a_profile_does_not_change() -> None:
    profile = klein()
    with pytest.raises(ValidationError):
        profile.default_steps = 5  # type: ignore[misc] -- the point of the test
    with pytest.raises(TypeError):
        profile.supported_aspect_ratios["2:1"] = Size(1024, 512)  # type: ignore[index] -- likewise
    with pytest.raises(TypeError):
        profile.sources["cost"] = "me"  # type: ignore[index] -- likewise


def test_a_profile_can_be_written_as_json() -> None:
    assert '"16:9":{"width":1024,"height":576}' in klein().model_dump_json()


def test_a_profile_survives_a_copy_and_a_pickle() -> None:
    assert copy.deepcopy(klein()) == copy.copy(klein()) == pickle.loads(pickle.dumps(klein())) == klein()  # noqa: S301 -- our own pickle


def test_guidance_runs_above_what_the_pipeline_says() -> None:
    turbo = Registry.builtin().find("Z-Image-Turbo").profile
    assert [klein().is_guided(scale) for scale in (0.0, 1.0, 1.01)] == [False, False, True]
    assert [turbo.is_guided(scale) for scale in (0.0, 0.01, 1.0)] == [False, True, True]


def test_the_cost_law_is_the_documented_one() -> None:
    law = CostLaw(
        fixed_seconds=1.0,
        seconds_per_megapixel=2.0,
        step_seconds=3.0,
        step_seconds_per_megapixel=5.0,
        step_seconds_per_megapixel_squared=7.0,
    )
    assert law.seconds(megapixels=2.0, forwards=10) == 1 + 2 * 2 + 10 * (3 + 5 * 2 + 7 * 4)


@pytest.mark.parametrize(
    ("model", "side", "forwards", "published_seconds", "within"),
    [
        ("FLUX.2-klein-4B", 512, 4, 0.19, 0.10),  # inferencebench.io, H100
        ("FLUX.2-klein-4B", 1024, 4, 0.57, 0.10),
        ("Qwen-Image", 512, 2 * 20, 2.44, 0.03),  # vLLM-Omni's benchmark, H100, under guidance
        ("Qwen-Image", 1536, 2 * 35, 24.8, 0.03),
        ("Z-Image-Turbo", 1024, 8, 0.765, 0.05),  # H800
    ],
)
def test_the_cost_of_a_profile_meets_its_anchors(
    model: str, side: int, forwards: int, published_seconds: float, within: float
) -> None:
    cost = Registry.builtin().find(model).profile.cost
    predicted = cost.seconds(megapixels=side * side / 1e6, forwards=forwards)
    assert predicted == pytest.approx(published_seconds, rel=within)


def test_the_toml_files_read_as_plain_tables() -> None:
    table = tomllib.loads(KLEIN)
    assert table["supported_aspect_ratios"]["16:9"] == [1024, 576]


def test_a_size_with_a_side_above_the_longest_is_refused() -> None:
    bagel = Registry.builtin().find("BAGEL-7B-MoT").profile
    facts = json.loads(bagel.model_dump_json(exclude_unset=True))
    facts["supported_aspect_ratios"]["21:9"] = [1344, 576]
    with pytest.raises(ValidationError, match="1344x576 is not valid; the limit is 1024 pixels a side"):
        Profile.model_validate_json(json.dumps(facts))


@pytest.mark.parametrize(
    ("version", "most"),
    [
        (None, 4),
        ("0.18.0", 4),
        ("0.20.0", 1),
        ("0.28.1", 1),
        ("0.30.0", 4),
        ("1.0", 4),
        ("dev", 4),
    ],
)
def test_the_abilities_of_a_model_can_depend_on_the_release(version: str | None, most: int) -> None:
    assert klein().for_version(version).max_input_images == most


def test_a_release_that_accepts_fewer_images_is_named_if_there_are_too_many() -> None:
    older = klein().for_version("0.26.0")
    request = EditRequest(prompt="night", images=(b"a", b"b"))
    with pytest.raises(InvalidRequest, match=r"edits at most 1 image, not 2") as caught:
        check_edit_support(request, older, Registry.builtin())
    assert "FLUX.2-klein-4B itself on vLLM-Omni 0.30 or newer" in str(caught.value)
