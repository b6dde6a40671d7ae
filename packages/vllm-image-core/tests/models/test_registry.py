import itertools
from pathlib import Path

import pytest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Match, Registry

REGISTRY = Registry.builtin()
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
QWEN = "Qwen/Qwen-Image"
QWEN_2512 = "Qwen/Qwen-Image-2512"
Z_IMAGE = "Tongyi-MAI/Z-Image"
TURBO = "Tongyi-MAI/Z-Image-Turbo"


def found(match: Match) -> tuple[str, str]:
    return match.profile.model, match.how


def test_the_registry_knows_the_text_to_image_and_edit_models_of_vllm_omni() -> None:
    assert sorted(profile.model for profile in REGISTRY.profiles) == [
        "AIDC-AI/Ovis-Image-7B",
        "Boogu/Boogu-Image-0.1-Base",
        "Boogu/Boogu-Image-0.1-Edit",
        "Boogu/Boogu-Image-0.1-Edit-Turbo",
        "Boogu/Boogu-Image-0.1-Turbo",
        "ByteDance-Seed/BAGEL-7B-MoT",
        "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
        "FLUX.1-dev-DMD2",
        "HiDream-ai/HiDream-I1-Full",
        "HiDream-ai/HiDream-O1-Image",
        "NucleusAI/Nucleus-Image",
        "OmniGen2/OmniGen2",
        "OpenMOSS-Team/MOSS-Image-Base",
        "OpenMOSS-Team/MOSS-Image-SFT",
        QWEN,
        "Qwen/Qwen-Image-2.1",
        "Qwen/Qwen-Image-2.1-Turbo",
        QWEN_2512,
        "Qwen/Qwen-Image-Edit",
        "Qwen/Qwen-Image-Edit-2509",
        "Qwen/Qwen-Image-Edit-2511",
        "Qwen/Qwen-Image-Layered",
        "SenseNova/SenseNova-U1-8B-MoT",
        Z_IMAGE,
        TURBO,
        "baidu/ERNIE-Image",
        "baidu/ERNIE-Image-Turbo",
        "black-forest-labs/FLUX.1-Kontext-dev",
        "black-forest-labs/FLUX.1-Krea-dev",
        "black-forest-labs/FLUX.1-dev",
        "black-forest-labs/FLUX.1-schnell",
        "black-forest-labs/FLUX.2-dev",
        KLEIN,
        "black-forest-labs/FLUX.2-klein-9B",
        "black-forest-labs/FLUX.2-klein-base-4B",
        "black-forest-labs/FLUX.2-klein-base-9B",
        "bytedance-research/Lance",
        "bytedance-research/MammothModa2-Dev",
        "bytedance-research/MammothModa2-Preview",
        "circlestone-labs/Anima",
        "ideogram-ai/ideogram-4-nf4",
        "inclusionAI/Ming-Image-0.1-Design",
        "inclusionAI/Ming-Image-0.1-Design-Layer",
        "inclusionAI/Ming-flash-omni-2.0",
        "jdopensource/JoyAI-Image-Edit-Diffusers",
        "krea/Krea-2-Raw",
        "krea/Krea-2-Turbo",
        "meituan-longcat/LongCat-Image",
        "meituan-longcat/LongCat-Image-Edit",
        "meituan-longcat/LongCat-Image-Edit-Turbo",
        "nvidia/Cosmos3-Nano",
        "nvidia/Cosmos3-Super",
        "nvidia/Cosmos3-Super-Text2Image",
        "nvidia/Qwen-Image-Flash",
        "sensenova/SenseNova-U1.5-8B-MoT",
        "stabilityai/stable-diffusion-3.5-large",
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "stabilityai/stable-diffusion-3.5-medium",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "stepfun-ai/NextStep-1.1",
        "tencent/HunyuanImage-3.0",
        "tencent/HunyuanImage-3.0-Instruct",
        "tencent/HunyuanImage-3.0-Instruct-Distil",
        "zai-org/GLM-Image",
    ]


def test_no_two_profiles_share_a_name() -> None:
    names = [profile.model.rpartition("/")[2].casefold() for profile in REGISTRY.profiles]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("profile", REGISTRY.profiles, ids=lambda profile: profile.model)
def test_a_hugging_face_id_matches_exactly_in_any_case(profile: Profile) -> None:
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
    ("name", "model"),
    [
        ("FLUX.2-klein-4B", KLEIN),
        ("flux2-klein-4b", KLEIN),
        ("z-image", Z_IMAGE),
        ("someone/Z-Image-Turbo", TURBO),
    ],
)
def test_a_served_name_or_another_publisher_s_copy_is_an_alias(name: str, model: str) -> None:
    assert found(REGISTRY.find(name)) == (model, "alias")


@pytest.mark.parametrize(
    ("name", "model", "how"),
    [
        (f"{KLEIN}@main", KLEIN, "exact"),
        (f"{KLEIN}@75e0b4be04f60ec59a75f475837eced720f823b6", KLEIN, "exact"),
        (f"{KLEIN}:latest", KLEIN, "exact"),
        ("someone/qwen-image-2512@refs/pr/3", QWEN_2512, "alias"),
        ("qwen-image-2512:latest", QWEN_2512, "alias"),
        ("x/flux2-klein:4b", KLEIN, "alias"),
        ("registry.local:5000/z-image-turbo", TURBO, "alias"),
        ("/home/me@corp/models/Qwen-Image", QWEN, "path"),
        ("/models/Qwen-Image/snapshots/75e0b4be04f60ec59a75f475837eced720f823b6", QWEN, "path"),
        (r"C:\Users\me\hub\models--Qwen--Qwen-Image\snapshots\75e0b4b", QWEN, "path"),
        ("qwen-image:v7", "fallback", "fallback"),
        ("qwen-image@", "fallback", "fallback"),
        ("@main", "fallback", "fallback"),
        (":latest", "fallback", "fallback"),
        ("::", "fallback", "fallback"),
    ],
)
def test_a_revision_or_a_tag_does_not_hide_the_model(name: str, model: str, how: str) -> None:
    assert found(REGISTRY.find(name, name)) == (model, how)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("my-qwen-image-lora", QWEN),
        ("acme/our-company-qwen-image-2512-finetune", QWEN_2512),
        ("pixel-art-z-image-turbo-lora", TURBO),
        ("my-flux.2-klein-4b-lora-fp8", KLEIN),
    ],
)
def test_words_before_the_base_model_do_not_hide_it(name: str, model: str) -> None:
    match = REGISTRY.find(name, name)
    assert found(match) == (model, "family")
    assert match.warning is not None


@pytest.mark.parametrize(
    "name",
    [
        "my-qwen-image",
        "lightning-qwen-image-lora",
        "8step-z-image-lora",
        "my-qwen-image-edit-lightning-lora",
        "my-qwen-image-3.1-lora",
        "a-lance-lora",
        "sdxl-anima-lora",
        "animated-lora",
        "z-image-turbo-distil-lora",
        "HiDream-ai/HiDream-O1-Image-Dev",
        "nvidia/Cosmos3-Super-Text2Image-4Step",
        "sensenova/SenseNova-U1-8B-MoT-8step-preview",
        "stepfun-ai/NextStep-1-Large",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "lancelot-7b",
    ],
)
def test_the_word_of_another_network_hides_it_wherever_it_is(name: str) -> None:
    assert found(REGISTRY.find(name, name)) == ("fallback", "fallback")


def test_the_root_is_tried_before_the_id() -> None:
    assert found(REGISTRY.find(QWEN, "/models/Z-Image-Turbo")) == (TURBO, "path")


def test_the_id_helps_if_the_root_says_nothing() -> None:
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
        ("nunchaku-tech/nunchaku-z-image-turbo", TURBO),
        ("nunchaku-tech/nunchaku-qwen-image-2512", QWEN_2512),
        ("/models/svdq-int4_r32-z-image-turbo.safetensors", TURBO),
        ("someone/Z-Image-Turbo-SDNQ-uint4-svd-r32", TURBO),
        ("unsloth/Qwen-Image-2512-unsloth-bnb-4bit", QWEN_2512),
        ("Qwen-Image-2512-UD-Q4_K_XL.gguf", QWEN_2512),
        ("mlx-community/Z-Image-mlx-4-bit", Z_IMAGE),
        ("flux2-klein-4b-fp8.safetensors", KLEIN),
        ("someone/Qwen-Image-2512-EXL3", QWEN_2512),
        ("someone/Qwen-Image-2512-exl2-6.5bpw", QWEN_2512),
        ("someone/Z-Image-Turbo-openvino-int4", TURBO),
        ("someone/Z-Image-Turbo-TorchAO-int8wo", TURBO),
        ("z-image-turbo:q4_k_m", TURBO),
        ("someone/Z-Image-Turbo-GGUF:Q8_0", TURBO),
        ("registry.local:5000/z-image-turbo:fp8", TURBO),
        ("Boogu/Boogu-Image-0.1-Edit-Turbo-fp8@main", "Boogu/Boogu-Image-0.1-Edit-Turbo"),
    ],
)
def test_a_quantised_copy_is_known_by_its_original(name: str, model: str) -> None:
    match = REGISTRY.find("default", name)
    assert found(match) == (model, "family")
    assert match.in_registry
    assert match.warning is None


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen-Image-Edit-2512",
        "lightx2v/Qwen-Image-Edit-2511-Lightning",
        "Qwen/Qwen-Image-Layered-Control",
        "lightx2v/Qwen-Image-2512-Lightning",
        "Qwen/Qwen-Image-2511",
        "Qwen/Qwen-Image2",
        "Tongyi-MAI/Z-Image-Edit",
        "Tongyi-MAI/Z-Image-Omni-Base",
        "Tongyi-MAI/Z-Image-Turbo-Fun",
        "black-forest-labs/FLUX.2-klein-base",
        "black-forest-labs/FLUX.2-klein-4B-base",
        "black-forest-labs/FLUX.1-Fill-dev",
        "ByteDance/SDXL-Lightning",
        "stabilityai/stable-diffusion-3-medium",
        "tencent/HunyuanImage-3.0-Instruct-Flash",
        "krea/Krea-2",
        "black-forest-labs/FLUX.2-klein",
        "black-forest-labs/FLUX.2-dev-turbo",
        "My-Z-Image",
        "/models/Z-Image/transformer",
        "Z-Image-m",
        "Z-Image-r32",
        "nunchaku-Z-Image-Turbo-Fun",
        "nunchaku-",
        "Qwen-Image2512x",
        "-FP8",
    ],
)
def test_a_name_that_only_begins_like_a_known_one_is_another_model(name: str) -> None:
    assert found(REGISTRY.find(name, name)) == ("fallback", "fallback")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("someone/Qwen-Image-anime-lora-merged", QWEN),
        ("someone/Qwen-Image-2512-anime-lora-merged", QWEN_2512),
        ("/models/qwen_image_2512_merged_v3_fp8", QWEN_2512),
        ("me/FLUX.2-klein-4B-dreambooth", KLEIN),
        ("me/Z-Image-Turbo-finetuned.safetensors", TURBO),
        ("me/Z-Image-sft", Z_IMAGE),
        ("me/Qwen-Image-Edit-2511-lora", "Qwen/Qwen-Image-Edit-2511"),
    ],
)
def test_a_fine_tuned_model_gets_the_settings_of_its_family_and_a_warning(name: str, model: str) -> None:
    match = REGISTRY.find("served", name)
    assert (found(match), match.in_registry) == ((model, "family"), False)
    assert match.warning == (
        f"Model 'served' is not in the known profiles. Its name says it was made from {model}, so "
        f"that model's settings are used (steps={match.profile.default_steps}, "
        f"guidance={match.profile.default_guidance_scale})."
    )


@pytest.mark.parametrize(
    "name",
    [
        "someone/Qwen-Image-anime",
        "someone/Qwen-Image-Lightning-lora",
        "someone/Qwen-Image-lora-8steps",
        "someone/Qwen-Image-2511-lora",
        "someone/Qwen-Image2-lora",
        "someone/Qwen-Imagelora",
        "someone/Z-Image-Turbo-distilled-lora",
        "someone/FLUX.1-dev-controlnet-merged",
        "someone/anime-lora",
        "lora",
    ],
)
def test_a_fine_tuned_name_whose_settings_are_not_certain_is_unknown(name: str) -> None:
    assert found(REGISTRY.find(name, name)) == ("fallback", "fallback")


@pytest.mark.parametrize("name", ["OvisAI/Ovis-Image", "ovisai/ovis-image", "me/Ovis-Image"])
def test_another_name_of_the_same_model_is_an_alias(name: str) -> None:
    assert found(REGISTRY.find(name)) == ("AIDC-AI/Ovis-Image-7B", "alias")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Qwen/Qwen-Image", QWEN),
        (" qwen-image-2512 ", QWEN_2512),
        ("z-image-TURBO", TURBO),
        ("fallback", "fallback"),
    ],
)
def test_a_profile_is_found_by_the_name_that_a_person_gives(name: str, model: str) -> None:
    profile = REGISTRY.by_name(name)
    assert profile
    assert profile.model == model


@pytest.mark.parametrize("name", ["", "qwen", "acme/painter", "Qwen-Image-lora", "Qwen-Image-FP8"])
def test_no_profile_has_that_name(name: str) -> None:
    assert REGISTRY.by_name(name) is None


def test_your_own_profiles_override_ours(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "Qwen/Qwen-Image"\ndefault_steps = 33\n', "utf-8")
    registry = REGISTRY.with_profiles(file)
    match = registry.find("someone/Qwen-Image-FP8")
    assert (match.profile.default_steps, match.how) == (33, "family")
    assert len(registry.profiles) == len(REGISTRY.profiles)
    assert REGISTRY.find(QWEN).profile.default_steps == 50


def test_your_own_model_is_found_by_its_name_its_aliases_and_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'extends = "Qwen/Qwen-Image"\nmodel = "acme/painter"\naliases = ["/srv/current", "house-style"]\n',
        "utf-8",
    )
    registry = REGISTRY.with_profiles(tmp_path)
    assert found(registry.find("default", "acme/painter")) == ("acme/painter", "exact")
    assert found(registry.find("default", "/srv/current")) == ("acme/painter", "path")
    assert found(registry.find("house-style")) == ("acme/painter", "alias")
    assert found(registry.find(QWEN)) == (QWEN, "exact")


def test_your_own_fallback_is_for_unknown_models(tmp_path: Path) -> None:
    file = tmp_path / "any.toml"
    file.write_text('extends = "fallback"\ndefault_steps = 12\ndefault_guidance_scale = 3.0\n', "utf-8")
    match = REGISTRY.with_profiles(str(file)).find("acme/painter")
    assert match.profile.default_steps == 12
    assert match.warning
    assert "(steps=12, guidance=3.0)" in match.warning


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
    assert not profile.is_known


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


def test_a_name_with_a_thousand_suffixes_is_answered_quickly() -> None:
    for word in ("-q4-k", "-fp8", "-0", "_4bit", "--", "-q4" * 2, "-svdq-int4", "-4-bit"):
        for end in ("", "-z", "!"):
            assert REGISTRY.find("Qwen-Image" + word * 180 + end).how in ("family", "fallback", "alias")


def test_a_long_path_is_still_known_by_its_last_part() -> None:
    assert found(REGISTRY.find("x", "/" + "deep/" * 1_000 + "Z-Image")) == (Z_IMAGE, "path")


def test_the_registry_can_be_iterated() -> None:
    assert tuple(itertools.islice(REGISTRY, 2)) == REGISTRY.profiles[:2]


def test_every_toml_file_of_the_package_is_one_profile() -> None:
    import vllm_image_core  # noqa: PLC0415 -- its folder is what is looked at

    folder = Path(vllm_image_core.__file__).parent / "profiles"
    assert len(list(folder.glob("*.toml"))) == len(REGISTRY.profiles) + 1


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("acme/painter-turbo", 8),
        ("acme/painter_v2-Lightning", 8),
        ("SDXL-Lightning-4step", 4),
        ("lightx2v/Qwen-Image-2512-Lightning-8steps-V1.0", 8),
        ("acme/painter-16-steps", 16),
        ("flux3-schnell", 4),
        ("someone/Z-Image-DMD2", 4),
    ],
)
def test_an_unknown_model_whose_name_says_that_it_is_distilled_gets_few_steps_and_a_note(
    name: str, steps: int
) -> None:
    match = REGISTRY.find(name)
    assert (match.how, match.profile.is_known) == ("fallback", False)
    assert (match.profile.default_steps, match.profile.default_guidance_scale) == (steps, 0.0)
    assert match.warning is not None
    assert f"(steps={steps}, guidance=0.0)" in match.warning
    assert "says that it is distilled" in match.warning


@pytest.mark.parametrize(
    "name", ["acme/painter", "fast-food", "turbot-7b", "acme/painter-v4", "sd-cpp-local"]
)
def test_any_other_unknown_model_keeps_the_steps_of_the_fallback(name: str) -> None:
    assert REGISTRY.find(name).profile == REGISTRY.fallback


def test_your_own_fallback_is_used_whatever_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "fallback"\ndefault_steps = 33\n')
    assert REGISTRY.with_profiles(tmp_path).find("acme/painter-turbo").profile.default_steps == 33


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Qwen/Qwen-Image-2.0", "Qwen/Qwen-Image-2.1"),
        ("Qwen/Qwen-Image-Edit-2601", "Qwen/Qwen-Image-Edit-2509"),
        ("lightx2v/Qwen-Image-2512-Lightning", QWEN_2512),
        ("lightx2v/Qwen-Image-Lightning", QWEN),
        ("Qwen/Qwen-Image-Edit-Rapid", "Qwen/Qwen-Image-Edit"),
        ("sensenova/SenseNova-U1-A3B-MoT", "SenseNova/SenseNova-U1-8B-MoT"),
        ("black-forest-labs/FLUX.3-dev", "black-forest-labs/FLUX.1-dev"),
        ("someone/Z-Image-Omni", Z_IMAGE),
    ],
)
def test_a_model_of_a_known_family_keeps_the_sentence_of_the_plan_and_names_the_nearest_profile(
    name: str, nearest: str
) -> None:
    warning = REGISTRY.find(name).warning
    assert warning is not None
    assert warning.startswith(f"Model '{name}' is not in the known profiles. Using fallback defaults (steps=")
    assert warning.endswith(
        f'The nearest profile is {nearest}; to use its settings, write a profile with extends = "{nearest}".'
    )


@pytest.mark.parametrize(
    "name", ["acme/painter", "Qwen/Qwen2.5-VL-7B", "dall-e-3", "stable-audio", "lancet", ""]
)
def test_a_model_of_no_known_family_has_no_nearest_profile(name: str) -> None:
    assert "nearest" not in (REGISTRY.find(name).warning or "")


def test_unknown_models_edit_only_if_that_is_assumed() -> None:
    assert REGISTRY.find("acme/painter").profile.max_input_images == 0
    assumed = REGISTRY.assuming_edits()
    assert assumed.find("acme/painter").profile.max_input_images == 4
    assert assumed.find(QWEN).profile.max_input_images == 0
