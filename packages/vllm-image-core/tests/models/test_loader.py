from pathlib import Path

import pytest
from vllm_image_core.errors import BadProfile
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.loader import MOST_BYTES, read_profile, read_profiles
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry

KNOWN = {profile.model: profile for profile in Registry.builtin()}
QWEN = KNOWN["Qwen/Qwen-Image"]


def own(folder: Path, text: str, name: str = "mine.toml") -> Profile:
    file = folder / name
    file.write_text(text, "utf-8")
    (profile,) = read_profiles(file, known=KNOWN)
    return profile


def fault(folder: Path, text: str) -> str:
    with pytest.raises(BadProfile) as caught:
        own(folder, text)
    message = caught.value.message
    assert message.startswith(str(folder / "mine.toml"))
    assert message.isprintable()
    return message.removeprefix(str(folder / "mine.toml"))


def test_anything_but_toml_is_refused_with_the_file() -> None:
    with pytest.raises(BadProfile, match=r"^mine\.toml is not valid TOML: "):
        read_profile("model = ", file="mine.toml")


def test_a_profile_that_extends_another_has_all_of_it_but_its_own_values(tmp_path: Path) -> None:
    profile = own(tmp_path, 'extends = "qwen/qwen-image"\ndefault_steps = 30\n')
    said = {"default_steps", "sources"}
    assert profile.default_steps == 30
    assert profile.model_dump(exclude=said) == QWEN.model_dump(exclude=said)


def test_values_in_the_file_have_the_file_as_their_source(tmp_path: Path) -> None:
    profile = own(
        tmp_path,
        'extends = "Qwen/Qwen-Image"\ndefault_steps = 30\ndefault_guidance_scale = 3.0\n'
        '[sources]\ndefault_guidance_scale = "Tried on ten prompts."\n',
    )
    assert profile.sources["default_steps"] == f"Your own profile, {tmp_path / 'mine.toml'}."
    assert profile.sources["default_guidance_scale"] == "Tried on ten prompts."
    assert profile.sources["max_resolution_mp"] == QWEN.sources["max_resolution_mp"]


def test_tables_are_merged_key_by_key(tmp_path: Path) -> None:
    profile = own(
        tmp_path,
        'extends = "Qwen/Qwen-Image"\n[supported_aspect_ratios]\n"2:1" = [1600, 800]\n'
        "[quality.draft]\nguidance_scale = 2.0\n[cost]\nfixed_seconds = 9.0\n",
    )
    assert profile.supported_aspect_ratios == {**QWEN.supported_aspect_ratios, "2:1": Size(1600, 800)}
    draft, best = profile.preset("draft"), profile.preset("best")
    assert draft
    assert (draft.num_inference_steps, draft.guidance_scale) == (20, 2.0)
    assert best == QWEN.preset("best")
    assert profile.cost == QWEN.cost.model_copy(update={"fixed_seconds": 9.0})


def test_a_model_of_its_own_does_not_inherit_the_aliases_of_what_it_extends(tmp_path: Path) -> None:
    text = 'extends = "AIDC-AI/Ovis-Image-7B"\n'
    assert own(tmp_path, text).aliases == KNOWN["AIDC-AI/Ovis-Image-7B"].aliases
    assert own(tmp_path, text + 'model = "acme/posters"\n').aliases == ()


def test_a_folder_holds_many_profiles_which_may_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "acme/base"\nmodel = "acme/a"\ndefault_steps = 9\n', "utf-8")
    (tmp_path / "b.toml").write_text(
        'extends = "Qwen/Qwen-Image"\nmodel = "acme/base"\ndefault_steps = 8\n', "utf-8"
    )
    (tmp_path / "notes.txt").write_text("no profile", "utf-8")
    profiles = read_profiles(tmp_path, known=KNOWN)
    assert [(profile.model, profile.default_steps) for profile in profiles] == [
        ("acme/a", 9),
        ("acme/base", 8),
    ]


def test_a_complete_profile_of_your_own_needs_no_sources(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "src" / "vllm_image_core" / "profiles" / "qwen-image.toml"
    text = shipped.read_text("utf-8").partition("[sources]")[0]
    assert own(tmp_path, text.replace("Qwen/Qwen-Image", "acme/painter")).model == "acme/painter"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("default_steps = 500", ": default_steps: 500 is not valid; use 1 to 200"),
        ("default_steps = true", ": default_steps: True is not valid; use a whole number"),
        ('default_steps = "4"', ": default_steps: '4' is not valid; use a whole number"),
        ('type = "turbo"', ": type: 'turbo' is not valid; use 'distilled' or 'standard'"),
        (
            'size_rule = "ceil"',
            ": size_rule: 'ceil' is not valid; use 'floor', 'error', 'round_up', 'nearest',",
        ),
        ("steps = 4", ": steps: unknown key. Allowed: model, aliases, type, default_steps,"),
        ("[cost]\nsteps = 4", ": cost.steps: unknown key. Allowed: fixed_seconds,"),
        (
            "[quality.draft]\nsteps = 4",
            ": quality.draft.steps: unknown key. Allowed: num_inference_steps,",
        ),
        (
            "[quality.fast]\nnum_inference_steps = 4",
            ": quality.fast: 'fast' is not valid; use 'draft' or 'best'",
        ),
        (
            "[quality.draft]\nnum_inference_steps = 0",
            ": quality.draft.num_inference_steps: 0 is not valid; use 1 or more",
        ),
        (
            "default_guidance_scale = 20.5",
            ": default_guidance_scale: 20.5 is not valid; use 0 to 20",
        ),
        ("default_guidance_scale = inf", ": default_guidance_scale: inf is not valid; use a finite"),
        ("default_width = 0", ": default_width: 0 is not valid; use 1 or more"),
        ("max_resolution_mp = 0", ": max_resolution_mp: 0 is not valid; use a number above 0"),
        ("[cost]\nfixed_seconds = -1", ": cost.fixed_seconds: -1 is not valid; use 0 or more"),
        ("[cost]", ": cost: the table is empty; it can hold fixed_seconds,"),
        ("[quality]", ": quality: the table is empty; it can hold [quality.draft] and"),
        ("[quality.draft]", ": quality.draft: the table is empty; it can hold num_inference_steps,"),
        (
            "[supported_aspect_ratios]",
            ": supported_aspect_ratios: the table is empty; it can hold sizes by ratio",
        ),
        ("[sources]", ": sources: the table is empty; it can hold strings by key"),
        ("cost = 3", ": cost: 3 is not valid; use a table"),
        ("quality = 3", ": quality: 3 is not valid; use a table"),
        (
            '[supported_aspect_ratios]\n"1:1" = [1024]',
            ": supported_aspect_ratios.1:1: a list is not valid; use a list of two whole numbers",
        ),
        ("model = '  '", ": model: '  ' is not valid; use a string that is not blank"),
        (
            'model = "a\\u0000b"',
            ": model: 'a\\x00b' is not valid; use a string that is not blank, without",
        ),
        (
            'model = "a\\u202eb"',
            "is not valid; use a string that is not blank, without control characters",
        ),
        (f"licence = '{'x' * 900}'", "is not valid; use a string of at most 800 characters"),
        (
            'model = "acme/a"\nextends = "acme/a"',
            ": extends: 'acme/a' is the profile itself; name another",
        ),
        (
            "[supported_aspect_ratios]\nwide = [1600, 800]",
            ": supported_aspect_ratios: 'wide' is not a ratio; use names",
        ),
        (
            '[supported_aspect_ratios]\n"2:1" = [1600, 900]',
            ": supported_aspect_ratios.2:1: 1600x900 is not valid; both sides must be multiples of 16",
        ),
        (
            '[supported_aspect_ratios]\n"2:1" = [1600, 896]',
            ": supported_aspect_ratios.2:1: 1600x896 does not match this ratio; it may differ by at most 3%",
        ),
        ("extends = 7", ": extends: 7 is not a string; use a model's name"),
        ('extends = "acme/nothing"', ": extends: 'acme/nothing' is not a known model; use one of "),
        ("model = ''", ": model: '' is not valid; use a string of at least 1 character"),
        ("sources = 7", ": sources: "),
    ],
)
def test_a_wrong_key_is_reported_with_its_file_and_what_is_allowed(
    tmp_path: Path, line: str, told: str
) -> None:
    extends = "" if "extends" in line else 'extends = "Qwen/Qwen-Image"\n'
    found = fault(tmp_path, extends + line + "\n")
    assert found.startswith(told) or told.removeprefix(": ") in found


@pytest.mark.parametrize("text", ["", "\n\n", "# a profile, some day\n"])
def test_an_empty_file_is_refused_with_what_a_profile_needs(tmp_path: Path, text: str) -> None:
    found = fault(tmp_path, text)
    assert " is empty; give extends and what differs, or all of model, type, default_steps," in found


def test_an_impossible_path_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="cannot be read"):
        read_profiles(tmp_path / "a\0b", known=KNOWN)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    found = fault(tmp_path, 'model = "acme/painter"\n')
    assert "type: missing" in found
    assert found.endswith("; add what is missing, or extend a profile that has it")
    assert " more; " in found


def test_profiles_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "acme/b"\nmodel = "acme/a"\n', "utf-8")
    (tmp_path / "b.toml").write_text('extends = "acme/a"\nmodel = "acme/b"\n', "utf-8")
    with pytest.raises(BadProfile, match=r"a\.toml: extends: 'acme/a' extends 'acme/b' extends 'acme/a'; "):
        read_profiles(tmp_path, known=KNOWN)


def test_two_files_of_one_model_are_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text('extends = "Qwen/Qwen-Image"\n', "utf-8")
    with pytest.raises(BadProfile, match=r"b\.toml: model: another file is also for 'Qwen/Qwen-Image'$"):
        read_profiles(tmp_path, known=KNOWN)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"model = '\xe9'", "is not UTF-8: byte 9 is invalid"),
        (b"\xff\xfea", "is not UTF-16-LE: byte 2 is invalid"),
        (b"a = 1\n" * (MOST_BYTES // 6 + 1), "is not a profile: it has more than 1000000 bytes"),
        (b"x = " + b"[" * 5_000, "is not valid TOML: "),
        (b"model = \x1b[31m", "is not valid TOML: "),
    ],
    ids=["latin", "cut", "long", "deep", "control"],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(BadProfile) as caught:
        read_profiles(file, known=KNOWN)
    assert told in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_profile_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes('extends = "Qwen/Qwen-Image"\r\n'.encode(encoding))
    assert read_profiles(file, known=KNOWN)[0].model == "Qwen/Qwen-Image"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"nothing\.toml cannot be read: No such file"):
        read_profiles(tmp_path / "nothing.toml", known=KNOWN)


def test_a_folder_without_profiles_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"has no profiles; their files must be named \*\.toml"):
        read_profiles(tmp_path, known=KNOWN)


def test_an_unusable_path_of_profiles_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / ("n" * 300), tmp_path / "zero\0byte"):
        with pytest.raises(BadProfile, match="cannot be read"):
            read_profiles(path, known={})
