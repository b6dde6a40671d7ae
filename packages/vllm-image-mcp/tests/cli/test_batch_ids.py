"""The ids of batches at the shell: the start of one is enough, if only one batch has it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result
from vllm_image_core.batches.journal import Journal
from vllm_image_mcp.cli.batch_ids import full_batch_id

if TYPE_CHECKING:
    from conftest import OmniServer

RunIn = Callable[..., Result]


def _starting(*ids: str) -> Callable[[Journal, str, int], tuple[str, ...]]:
    """Return what takes the place of `Journal.ids_starting_with`, and always finds these ids."""
    return lambda _journal, _start, _limit: ids


def test_every_command_takes_the_start_of_an_id(
    tmp_path: Path, run_in: RunIn, finished_batch: str, omni: "OmniServer"
) -> None:
    start = finished_batch[:10]
    for words in (
        ("resume", start),
        ("rate", "keep", start, "1"),
        ("export", start, "1", "--to", str(tmp_path / "site")),
        ("find", "--batch", start, "-q"),
        ("cancel", start),
    ):
        result = run_in(words[0], *words[1:], url=omni.url)
        assert result.exit_code == 0, f"{words}: {result.output}"
    assert len(run_in("find", "--batch", start, "-q", url=omni.url).stdout.splitlines()) == 2


def test_a_prefix_that_several_batches_share_is_refused_with_their_ids(
    monkeypatch: pytest.MonkeyPatch, run_in: RunIn
) -> None:
    monkeypatch.setattr(Journal, "ids_starting_with", _starting("batch_3b1", "batch_3b2"))
    result = run_in("resume", "batch_3b")
    assert result.exit_code == 2
    assert "Several batches start with batch_3b: batch_3b1, batch_3b2." in result.stderr


def test_a_complete_id_is_that_batch_even_if_longer_ids_start_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Journal, "ids_starting_with", _starting("batch_3b1", "batch_3b"))
    assert full_batch_id(Path("made"), "batch_3b") == "batch_3b"


def test_an_unknown_id_stays_as_it_was_typed(tmp_path: Path, run_in: RunIn, finished_batch: str) -> None:
    assert full_batch_id(tmp_path / "made", "batch_none") == "batch_none"
    assert full_batch_id(tmp_path / "made", finished_batch[3:]) == finished_batch[3:]
    result = run_in("resume", "batch_none")
    assert "Batch 'batch_none' is not known here." in result.stderr


def test_a_folder_without_batches_gets_no_journal(tmp_path: Path) -> None:
    assert full_batch_id(tmp_path, "batch_3b") == "batch_3b"
    assert not any(tmp_path.iterdir())
