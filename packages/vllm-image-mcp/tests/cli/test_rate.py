"""The command `rate`: images are kept and rejected by file name or number."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

RunIn = Callable[..., Result]


def test_images_of_a_batch_are_kept_and_rejected_by_number(
    run_in: RunIn, finished_batch: str, tmp_path: Path
) -> None:
    kept = run_in("rate", "keep", finished_batch, "1", "--stars", "5", "--json")
    assert kept.exit_code == 0, kept.stderr
    assert (json.loads(kept.stdout)["verdict"], json.loads(kept.stdout)["stars"]) == ("keep", 5)
    rejected = run_in("rate", "reject", finished_batch, "0")
    moved = Path(rejected.stdout.strip())
    assert moved.parent == tmp_path / "made" / "rejected"
    assert moved.exists()
    back = run_in("rate", "clear", moved.name)
    assert Path(back.stdout.strip()) == tmp_path / "made" / moved.name


def test_a_batch_needs_numbers_and_a_file_name_has_to_exist(run_in: RunIn, finished_batch: str) -> None:
    assert "Give the numbers of the batch's images" in run_in("rate", "keep", finished_batch).stderr
    result = run_in("rate", "reject", finished_batch, "7")
    assert result.exit_code == 1
    assert "is not an image in" in result.stderr


def test_an_image_is_named_by_its_path_from_the_working_folder(
    run_in: RunIn, finished_batch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished_batch
    name = Path(run_in("find", "-q").stdout.splitlines()[0]).name
    monkeypatch.chdir(tmp_path)
    for verdict, given in (("keep", f"made/{name}"), ("reject", f"./made/../made/{name}")):
        assert run_in("rate", verdict, given).exit_code == 0
    assert run_in("export", f"made/rejected/{name}", "--to", "site").exit_code == 0
    assert (tmp_path / "site" / name).is_file()
    assert run_in("rate", "clear", f"made/rejected/{name}").exit_code == 0
    assert (tmp_path / "made" / name).is_file()
    (tmp_path / "fox.png").write_bytes(b"")
    assert "is not an image in" in run_in("rate", "keep", "fox.png").stderr


def test_images_are_found_by_verdict_stars_and_tag(run_in: RunIn, finished_batch: str) -> None:
    assert run_in("rate", "keep", finished_batch, "1", "--stars", "4", "--tag", "hero").exit_code == 0
    assert run_in("rate", "reject", finished_batch, "0").exit_code == 0
    [kept] = run_in("find", "--kept", "--stars", "4", "--tag", "hero", "--json").stdout.splitlines()
    assert (json.loads(kept)["stars"], json.loads(kept)["tag"], json.loads(kept)["kept"]) == (4, "hero", True)
    [rejected] = run_in("find", "--rejected", "-q").stdout.splitlines()
    assert Path(rejected).parent.name == "rejected"


def test_the_settings_of_kept_images_are_rows_of_a_batch(
    run_in: RunIn, finished_batch: str, tmp_path: Path
) -> None:
    assert run_in("find", "--kept", "--requests").exit_code == 1
    [path] = run_in("rate", "keep", finished_batch, "1").stdout.splitlines()
    [row] = run_in("find", "--kept", "--requests").stdout.splitlines()
    before = json.loads(run_in("find", "--kept", "--json").stdout)
    assert json.loads(row)["prompt"] == before["prompt"]
    assert json.loads(row)["seed"] != before["seed"]
    (tmp_path / "more.jsonl").write_text(row, encoding="utf-8")
    more = run_in("batch", str(tmp_path / "more.jsonl"), "--json")
    assert more.exit_code == 0, more.stderr
    assert json.loads(more.stdout)["path"] != path
