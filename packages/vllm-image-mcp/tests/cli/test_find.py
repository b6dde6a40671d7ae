"""The command `find`: which images it lists, how, and with which status it ends."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

RunIn = Callable[..., Result]

SMALL = ("--width", "64", "--height", "64", "-q")


def generated(run_in: RunIn, prompt: str, *options: str) -> str:
    result = run_in("generate", prompt, *SMALL, *options)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_images_are_listed_newest_first_with_size_seed_and_prompt(run_in: RunIn) -> None:
    fox = generated(run_in, "a red fox", "--seed", "3")
    owl = generated(run_in, "an owl", "--seed", "4")
    assert run_in("find").stdout.splitlines() == [
        f"{owl}  64x64  seed 4  an owl",
        f"{fox}  64x64  seed 3  a red fox",
    ]


def test_words_seed_model_and_date_narrow_the_search(run_in: RunIn) -> None:
    fox = generated(run_in, "a red fox", "--seed", "3")
    generated(run_in, "an owl", "--seed", "4")
    for terms in (["fox"], ["--seed", "3"], ["fox", "--since", "2000-01-01"]):
        assert run_in("find", *terms, "-q").stdout == f"{fox}\n"
    assert run_in("find", "--until", "2000-01-01").exit_code == 1


def test_json_has_what_makes_each_image_again(run_in: RunIn) -> None:
    fox = generated(run_in, "a red fox", "--seed", "3")
    [found] = map(json.loads, run_in("find", "--json").stdout.splitlines())
    assert (found["file_path"], found["tool"]) == (fox, "generate_image")
    assert found["parameters"]["seed"] == 3


def test_no_match_is_said_on_stderr_with_status_one(run_in: RunIn, tmp_path: Path) -> None:
    result = run_in("find", "zebra")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"No image in {tmp_path / 'made'} matches.\n"


def test_more_images_than_the_limit_are_announced_with_the_next_offset(run_in: RunIn) -> None:
    first = generated(run_in, "a red fox")
    generated(run_in, "an owl")
    assert run_in("find", "--limit", "1").stderr == "There may be more: --offset 1\n"
    assert run_in("find", "--limit", "1", "--offset", "1", "-q").stdout == f"{first}\n"


def test_a_date_that_is_none_is_refused_with_an_example(run_in: RunIn) -> None:
    result = run_in("find", "--since", "yesterday")
    assert result.exit_code == 1
    assert "--since: 'yesterday' is not a date. Use a date such as 2026-11-23" in result.stderr
