"""What holds for every name that a server may tell."""

from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.profile import Profile
from vllm_image_core.registry import Registry

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
def test_any_name_is_answered_with_a_match_that_can_be_shown(id: str, root: str | None) -> None:  # noqa: A002 -- the server's word
    match = REGISTRY.find(id, root)
    assert match.name.isprintable()
    assert match.in_registry == (match.warning is None) == (match.profile is not REGISTRY.fallback)
    assert match.warning is None or (match.warning.isprintable() and len(match.warning) < 400)


@given(
    profile=known,
    suffix=suffixes,
    folder=st.sampled_from(["", "/models/", "C:\\models\\", "someone/"]),
    upper=st.booleans(),
)
def test_a_quantised_copy_is_known_wherever_it_lies(
    *, profile: Profile, suffix: str, folder: str, upper: bool
) -> None:
    name = folder + profile.model.rpartition("/")[2] + suffix
    match = REGISTRY.find("served", name.upper() if upper else name)
    assert (match.profile, match.how) == (profile, "quantised")


@given(known, st.from_regex(r"[a-z]{1,10}", fullmatch=True))
def test_any_other_word_after_a_name_makes_another_model(profile: Profile, word: str) -> None:
    match = REGISTRY.find(f"{profile.model}-{word}x")
    assert match.profile.model.casefold() in {"fallback", f"{profile.model}-{word}x".casefold()}
