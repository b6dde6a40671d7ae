"""The command `find`."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

RunIn = Callable[..., Result]


def test_an_image_is_found_by_a_word_of_its_prompt(
    run_in: RunIn, finished_batch: str, tmp_path: Path
) -> None:
    result = run_in("find", "fox")
    [line] = result.stdout.splitlines()
    assert result.exit_code == 0
    assert line.startswith(str(tmp_path / "made"))
    assert line.endswith("  a fox")
    assert "  64x64  seed " in line
    assert finished_batch not in line


def test_a_batch_and_a_day_narrow_the_search(run_in: RunIn, finished_batch: str) -> None:
    found = run_in("find", "--batch", finished_batch, "--since", "2020-01-01").stdout.splitlines()
    assert len(found) == 2
    assert run_in("find", "--until", "2020-01-01").stdout == ""


def test_json_prints_everything_known_about_each_image(run_in: RunIn, finished_batch: str) -> None:
    [line] = run_in("find", "owl", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["prompt"], found["width"], found["height"], found["batch"]) == (
        "an owl",
        64,
        64,
        finished_batch,
    )
    assert Path(found["path"]).stat().st_size == found["bytes"]
    assert "key" not in found


def test_the_next_page_is_named_if_there_is_one(run_in: RunIn, finished_batch: str) -> None:
    first = run_in("find", "--limit", "1")
    assert first.stderr == "There are more: --offset 1 lists the next ones.\n"
    second = run_in("find", "--limit", "1", "--offset", "1")
    assert second.stderr == ""
    assert {*first.stdout.splitlines(), *second.stdout.splitlines()} == {*run_in("find").stdout.splitlines()}
    assert finished_batch


def test_a_folder_without_images_says_so_and_is_not_created(tmp_path: Path, run_in: RunIn) -> None:
    result = run_in("find", "fox")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("No image in ")
    assert not any(tmp_path.iterdir())


def test_an_invalid_date_is_refused_with_an_example(run_in: RunIn) -> None:
    result = run_in("find", "--since", "soon")
    assert result.exit_code == 1
    assert "'soon' is not a date" in result.stderr


def test_quiet_prints_only_the_paths(run_in: RunIn, finished_batch: str) -> None:
    lines = run_in("find", "-q").stdout.splitlines()
    assert len(lines) == 2
    assert all(Path(line).is_file() for line in lines)
    assert finished_batch
