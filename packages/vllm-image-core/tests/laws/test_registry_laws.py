"""What holds for every name that a server may report."""

from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry

REGISTRY = Registry.builtin()
names = st.text(max_size=300) | st.from_regex(
    r"(models--|/|\\|Qwen-Image|FLUX\.2-klein-4B|-fp8|_Q4_K|\.gguf){1,12}"
)
known = st.sampled_from(REGISTRY.profiles)
suffixes = st.lists(
    st.sampled_from(
        ["-FP8", "-fp8-dynamic", "-GGUF", "-Q4_K_M", "-nvfp4", "-int8", "-AWQ", "-bnb-4bit", "-4bit"]
    ),
    min_size=1,
    max_size=3,
).map("".join)


@given(names, st.none() | names)
def test_any_name_gets_a_match_that_can_be_shown(id: str, root: str | None) -> None:  # noqa: A002 -- the server's word
    match = REGISTRY.find(id, root)
    assert match.name.isprintable()
    assert match.in_registry == (match.warning is None)
    assert (match.how == "fallback") == (match.profile is REGISTRY.fallback)
    assert match.warning is None or (match.warning.isprintable() and len(match.warning) < 400)


@given(
    profile=known,
    suffix=suffixes,
    folder=st.sampled_from(["", "/models/", "C:\\models\\", "someone/"]),
    upper=st.booleans(),
)
def test_a_quantised_copy_is_known_wherever_it_is(
    *, profile: Profile, suffix: str, folder: str, upper: bool
) -> None:
    name = folder + profile.model.rpartition("/")[2] + suffix
    match = REGISTRY.find("served", name.upper() if upper else name)
    assert (match.profile, match.how, match.warning) == (profile, "family", None)


@given(known, st.from_regex(r"[a-z]{1,10}", fullmatch=True))
def test_any_other_word_after_a_name_makes_another_model(profile: Profile, word: str) -> None:
    match = REGISTRY.find(f"{profile.model}-{word}x")
    assert match.profile.model.casefold() in {"fallback", f"{profile.model}-{word}x".casefold()}


@given(
    profile=known,
    words=st.lists(st.sampled_from(["anime", "real", "v2", "style", "fp8", "ema"]), max_size=3),
    trained=st.sampled_from(["lora", "merged", "finetune", "dreambooth", "sft"]),
    folder=st.sampled_from(["", "/models/", "someone/"]),
)
def test_a_fine_tuned_model_belongs_to_its_family_with_a_warning(
    profile: Profile, words: list[str], trained: str, folder: str
) -> None:
    name = folder + "-".join([profile.model.rpartition("/")[2], trained, *words])
    match = REGISTRY.find("served", name)
    assert (match.profile, match.how, match.in_registry) == (profile, "family", False)
    assert match.warning
    assert profile.model in match.warning


@given(
    profile=known,
    trained=st.sampled_from(["lora", "merged", "finetune"]),
    other=st.sampled_from(
        ["edit", "lightning", "turbo", "base", "layered", "controlnet", "8steps", "2511", "fill"]
    ),
    first=st.booleans(),
)
def test_a_word_for_other_settings_keeps_a_name_out_of_the_family(
    *, profile: Profile, trained: str, other: str, first: bool
) -> None:
    words = (other, trained) if first else (trained, other)
    match = REGISTRY.find("-".join([profile.model, *words]))
    assert match.profile is not profile
