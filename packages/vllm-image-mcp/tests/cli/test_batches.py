"""The command `batches`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

RunIn = Callable[..., Result]


def test_a_batch_is_listed_by_its_id_with_its_state(run_in: RunIn, finished_batch: str) -> None:
    listed = run_in("batches").stdout
    assert finished_batch in listed
    assert "done" in listed
    assert "2/2" in listed


def test_a_line_fits_on_its_terminal(
    run_in: RunIn, finished_batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_image_mcp.command_line.line_width", lambda: 60)
    monkeypatch.setattr("vllm_image_mcp.cli.batches.line_width", lambda: 60)
    [line] = run_in("batches").stdout.splitlines()
    assert len(line) <= 60
    assert line.startswith(f"{finished_batch[:14]}  ")
    assert line.endswith("a fox")


def test_a_folder_without_batches_says_so_and_is_not_created(tmp_path: Path, run_in: RunIn) -> None:
    result = run_in("batches")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("There are no batches in ")
    assert not any(tmp_path.iterdir())
