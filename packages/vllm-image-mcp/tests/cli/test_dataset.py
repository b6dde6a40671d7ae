"""The command `dataset`: what it generates, prints and continues."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from conftest import OmniServer

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")

Run = Callable[..., Result]


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    (tmp_path / "prompts.csv").write_text("prompt,width,height\na fox,64,64\nan owl,64,64\n")
    return str(tmp_path / "prompts.csv")


def test_each_row_has_an_image_and_the_same_command_again_generates_none(
    run_in: Run, prompts: str, tmp_path: Path, omni: "OmniServer"
) -> None:
    first = run_in("dataset", prompts, "--json", url=omni.url)
    second = run_in("dataset", prompts, "--json", url=omni.url)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (json.loads(first.stdout)["done"], json.loads(second.stdout)["done"]) == (2, 0)
    assert json.loads(second.stdout)["skipped"] == 2
    assert len(list((tmp_path / "made" / "images").rglob("*.png"))) == 2
    assert "2 rows" in first.stderr


def test_a_failed_row_sets_the_exit_status(run_in: Run, tmp_path: Path, omni: "OmniServer") -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a fox", "width": 7}\n')

    result = run_in("dataset", str(tmp_path / "prompts.jsonl"), url=omni.url)

    assert result.exit_code == 1
    assert "failed              1" in result.stdout


def test_the_demo_has_a_server_of_its_own(run_in: Run, prompts: str, tmp_path: Path) -> None:
    result = run_in("dataset", prompts, "--out", str(tmp_path / "out"))

    assert result.exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_an_unreadable_source_is_an_error_in_plain_words(run_in: Run, tmp_path: Path) -> None:
    result = run_in("dataset", str(tmp_path / "nothing.parquet"))

    assert result.exit_code == 1
    assert "is neither such a file nor a folder" in result.stderr


def test_a_store_option_needs_a_name(run_in: Run, prompts: str) -> None:
    result = run_in("dataset", prompts, "--store-option", "aws_region")

    assert result.exit_code == 2
    assert "Write NAME=VALUE, such as aws_region=eu-central-1." in result.stderr
