from pathlib import Path

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.wildcards import Wildcards


@pytest.fixture
def wildcards(tmp_path: Path) -> Wildcards:
    (tmp_path / "animals").mkdir()
    (tmp_path / "colour.txt").write_text("# a comment\nred\n\n  blue  \n", encoding="utf-8")
    (tmp_path / "animals" / "wild.txt").write_text("{fox|__colour__ bear}\nowl\n", encoding="utf-8")
    (tmp_path / "self.txt").write_text("__self__\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    return Wildcards(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a fox", ["a fox"]),
        ("a {fox}, [b|c], snake__case, {}", ["a fox", "a {fox}, [b|c], snake__case, {}"][1:]),
        ("a {red|blue|} fox", ["a red fox", "a blue fox", "a  fox"]),
        ("{a|b {c|d}}", ["a", "b c", "b d"]),
        ("{a|a}", ["a"]),
        ("a __colour__ hat", ["a red hat", "a blue hat"]),
        ("__animals/wild__", ["fox", "red bear", "blue bear", "owl"]),
    ],
)
def test_all_combinations_are_generated(wildcards: Wildcards, prompt: str, expected: list[str]) -> None:
    assert sorted(wildcards.every(prompt, most=10)) == sorted(expected)
    assert {wildcards.pick(prompt, seed=seed) for seed in range(100)} == {*expected}


def test_the_same_seed_picks_the_same_options(wildcards: Wildcards) -> None:
    picks = [wildcards.pick("{a|b|c|d} __colour__", seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert picks[0] == picks[1]
    assert len(set(picks)) > 1


@pytest.mark.parametrize("prompt", ["{a|b}" * 4, "{a|a}" * 40])
def test_more_combinations_than_allowed_are_refused(wildcards: Wildcards, prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="have more than 10 combinations"):
        wildcards.every(prompt, most=10)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (
            "__shape__",
            r"__shape__ cannot be used: the file does not exist in .* one of animals/wild, colour",
        ),
        ("__empty__", "it has no options, one on each line"),
        ("__self__", "never end: a file names itself"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(wildcards: Wildcards, prompt: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        wildcards.every(prompt, most=10)
    with pytest.raises(InvalidRequest, match=words):
        wildcards.pick(prompt, seed=1)


@pytest.mark.parametrize("prompt", ["__../secret__", "__/etc/passwd__", "__..__", "__.hidden__"])
def test_a_name_cannot_lead_out_of_the_folder(wildcards: Wildcards, prompt: str) -> None:
    assert wildcards.every(prompt, most=10) == [prompt]


def test_without_a_folder_there_are_no_wildcard_files() -> None:
    with pytest.raises(InvalidRequest, match="the file does not exist"):
        Wildcards().every("__colour__", most=10)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "tree.txt").write_bytes("oak\r\npêcher\r\n".encode(encoding))
    assert [*Wildcards(tmp_path).every("__tree__", most=10)] == ["oak", "pêcher"]
