import itertools
from pathlib import Path

import pytest
from vllm_image_core.profile import Profile
from vllm_image_core.registry import Match, Registry

REGISTRY = Registry.builtin()
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
QWEN_2512 = "Qwen/Qwen-Image-2512"
Z_IMAGE = "Tongyi-MAI/Z-Image"
TURBO = "Tongyi-MAI/Z-Image-Turbo"


def found(match: Match) -> tuple[str, str]:
    return match.profile.model, match.how


def test_the_registry_knows_the_models_of_the_plan_and_the_base_of_z_image() -> None:
    assert [profile.model for profile in REGISTRY.profiles] == [
        KLEIN,
        "black-forest-labs/FLUX.2-klein-9B",
        QWEN_2512,
        QWEN,
        TURBO,
        Z_IMAGE,
    ]


def test_no_two_profiles_share_a_name() -> None:
    names = [profile.model.rpartition("/")[2].casefold() for profile in REGISTRY.profiles]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("profile", REGISTRY.profiles, ids=lambda profile: profile.model)
def test_a_hugging_face_id_is_exact_in_any_case(profile: Profile) -> None:
    for told in (profile.model, profile.model.upper(), profile.model.lower(), f" {profile.model}/ "):
        assert found(REGISTRY.find("served-name", told)) == (profile.model, "exact")
        assert found(REGISTRY.find(told)) == (profile.model, "exact")


@pytest.mark.parametrize(
    ("root", "model"),
    [
        ("/models/FLUX.2-klein-4B", KLEIN),
        ("/models/flux.2-KLEIN-4b///", KLEIN),
        ("./FLUX.2-klein-4B", KLEIN),
        ("~/models/Z-Image", Z_IMAGE),
        ("models/local/Z-Image-Turbo", TURBO),
        (r"C:\models\Qwen-Image-2512", QWEN_2512),
        ("D:\\models\\Qwen-Image\\", QWEN),
        (r"\\nas\share\Qwen-Image", QWEN),
        ("/models/Tongyi-MAI--Z-Image-Turbo", TURBO),
        ("/root/.cache/modelscope/hub/models/black-forest-labs/FLUX___2-klein-4B", KLEIN),
        ("/hf/hub/models--Qwen--Qwen-Image/snapshots/75e0b4be04f60ec59a75f475837eced720f823b6", QWEN),
        (
            "/hf/hub/models--Qwen--Qwen-Image-2512/snapshots/75e0b4be04f60ec59a75f475837eced720f823b6/",
            QWEN_2512,
        ),
        ("/models/flux-2-klein-4b.safetensors", KLEIN),
    ],
)
def test_a_local_path_is_known_by_its_last_part(root: str, model: str) -> None:
    assert found(REGISTRY.find("default", root)) == (model, "path")


@pytest.mark.parametrize(
    ("name", "model"), [("FLUX.2-klein-4B", KLEIN), ("z-image", Z_IMAGE), ("someone/Z-Image-Turbo", TURBO)]
)
def test_a_served_name_or_another_publisher_s_copy_is_an_alias(name: str, model: str) -> None:
    assert found(REGISTRY.find(name)) == (model, "alias")


def test_the_root_is_asked_before_the_id() -> None:
    assert found(REGISTRY.find(QWEN, "/models/Z-Image-Turbo")) == (TURBO, "path")


def test_the_id_helps_where_the_root_says_nothing() -> None:
    for root in ("/srv/current", "", None):
        assert found(REGISTRY.find("FLUX.2-klein-4B", root)) == (KLEIN, "alias")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("black-forest-labs/FLUX.2-klein-4b-fp8", KLEIN),
        ("black-forest-labs/FLUX.2-klein-4b-nvfp4", KLEIN),
        ("FLUX.2-klein-4B-FP8", KLEIN),
        ("Qwen/Qwen-Image-fp8-dynamic", QWEN),
        ("city96/Qwen-Image-gguf", QWEN),
        ("/models/qwen-image-2512-Q4_K_M.gguf", QWEN_2512),
        ("Qwen-Image-2512-Q8_0", QWEN_2512),
        ("qwen-image-2512-iq4_nl", QWEN_2512),
        ("someone/Qwen-Image-2512-bnb-4bit", QWEN_2512),
        ("Z-Image-Turbo-int8", TURBO),
        ("Z-Image-Turbo_AWQ_4bit", TURBO),
        ("Z-Image-Turbo-W8A8", TURBO),
        ("Z-Image-Turbo-FP8-e4m3fn-scaled", TURBO),
        ("Z-Image-bf16", Z_IMAGE),
        ("nunchaku-tech/Z-Image-Turbo-svdq-int4", TURBO),
    ],
)
def test_a_quantised_copy_is_known_by_what_it_was_made_from(name: str, model: str) -> None:
    assert found(REGISTRY.find("default", name)) == (model, "quantised")


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen-Image-Edit",
        "Qwen/Qwen-Image-Edit-2511",
        "Qwen/Qwen-Image-Layered",
        "Qwen/Qwen-Image-Edit-FP8",
        "lightx2v/Qwen-Image-2512-Lightning",
        "Qwen/Qwen-Image-2511",
        "Qwen/Qwen-Image2",
        "Tongyi-MAI/Z-Image-Edit",
        "Tongyi-MAI/Z-Image-Omni-Base",
        "Tongyi-MAI/Z-Image-Turbo-Fun",
        "black-forest-labs/FLUX.2-klein-base-4B",
        "black-forest-labs/FLUX.2-klein-base-9B",
        "black-forest-labs/FLUX.2-klein-4B-base",
        "black-forest-labs/FLUX.2-klein-9b-kv",
        "black-forest-labs/FLUX.2-klein",
        "black-forest-labs/FLUX.2-dev",
        "My-Z-Image",
        "/models/Z-Image/transformer",
        "Z-Image-m",
        "-FP8",
    ],
)
def test_a_name_that_only_begins_like_a_known_one_is_another_model(name: str) -> None:
    assert found(REGISTRY.find(name, name)) == ("fallback", "fallback")


def test_a_known_model_has_no_warning() -> None:
    match = REGISTRY.find(KLEIN)
    assert (match.in_registry, match.warning) == (True, None)


def test_an_unknown_model_gets_the_fallback_and_the_warning_of_the_plan() -> None:
    match = REGISTRY.find("acme/painter", "/models/painter")
    assert match == Match(
        name="acme/painter",
        profile=REGISTRY.fallback,
        how="fallback",
        warning=(
            "Model 'acme/painter' is not in the known profiles. Using fallback defaults "
            "(steps=28, guidance=5.0). Generation may produce unexpected results."
        ),
    )
    assert not match.in_registry


def test_the_fallback_is_the_one_of_the_plan() -> None:
    profile = REGISTRY.fallback
    assert (profile.default_steps, profile.default_guidance_scale, str(profile.default_size)) == (
        28,
        5.0,
        "1024x1024",
    )
    assert (profile.resolution_multiple, profile.max_resolution_mp) == (16, 4.0)
    assert (profile.guidance_field, profile.negative_prompt) == ("guidance_scale", "optional")
    assert profile.estimated_vram_gb is None
    assert not profile.known


@pytest.mark.parametrize("name", ["", " ", "/", "\\", "--", "models--", "models----", ".", "C:"])
def test_a_name_that_says_nothing_is_unknown(name: str) -> None:
    assert REGISTRY.find(name, name).how == "fallback"


@pytest.mark.parametrize(
    "name",
    ["x" * 100_000, "evil\x00\x1b[31m\r\nname", "\u202egnp.exe", "\ud800", "a\u2028b", "Qwen-Image\n-FP8\nx"],
)
def test_a_hostile_name_is_bounded_and_printable_in_the_warning(name: str) -> None:
    match = REGISTRY.find(name, name)
    assert match.how == "fallback"
    assert match.warning
    for text in (match.name, match.warning):
        assert text.isprintable()
        assert len(text) < 400


def test_a_name_of_a_thousand_suffixes_is_answered_at_once() -> None:
    for word in ("-q4-k", "-fp8", "-0", "_4bit", "--", "-q4" * 2):
        for end in ("", "-z", "!"):
            assert REGISTRY.find("Qwen-Image" + word * 180 + end).how in ("quantised", "fallback", "alias")


def test_a_long_path_is_still_known_by_its_last_part() -> None:
    assert found(REGISTRY.find("x", "/" + "deep/" * 1_000 + "Z-Image")) == (Z_IMAGE, "path")


def test_the_registry_can_be_iterated() -> None:
    assert tuple(itertools.islice(REGISTRY, 2)) == REGISTRY.profiles[:2]


def test_every_toml_file_of_the_package_is_one_profile() -> None:
    import vllm_image_core  # noqa: PLC0415 -- its folder is what is looked at

    folder = Path(vllm_image_core.__file__).parent / "profiles"
    assert len(list(folder.glob("*.toml"))) == len(REGISTRY.profiles) + 1
