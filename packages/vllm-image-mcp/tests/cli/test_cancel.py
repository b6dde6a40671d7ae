"""The command `cancel`."""

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from conftest import OmniServer

RunIn = Callable[..., Result]


def test_a_finished_batch_stays_finished(run_in: RunIn, finished_batch: str) -> None:
    cancelled = run_in("cancel", finished_batch)
    assert cancelled.stdout == f"{finished_batch} done: 2 done, 0 failed, 0 cancelled\n"


def test_an_unknown_id_is_one_line_on_stderr(run_in: RunIn) -> None:
    result = run_in("cancel", "batch_0")
    assert result.exit_code == 1
    assert "Batch 'batch_0' is not known here. `vllm-image-mcp batches` lists the batches in" in result.stderr


def test_without_an_id_it_says_where_ids_are(run_in: RunIn) -> None:
    result = run_in("cancel")
    assert (result.exit_code, "`vllm-image-mcp batches` lists, or --all" in result.stderr) == (2, True)
    assert run_in("cancel", "batch_0", "--all").exit_code == 2


@pytest.mark.timeout(60)
def test_all_cancels_the_batches_that_run_in_other_processes(
    shell: subprocess.Popen[str], run_in: RunIn, only_batch: Callable[[], str], omni: "OmniServer"
) -> None:
    assert shell.poll() is None
    result = run_in("cancel", "--all", url=omni.url)
    assert result.stdout.startswith(f"{only_batch()} cancelled: ")
    again = run_in("cancel", "--all", url=omni.url)
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr.startswith("No batch is running in ")


def test_all_leaves_a_finished_batch(run_in: RunIn, finished_batch: str) -> None:
    assert run_in("cancel", "--all").stdout == ""
    assert run_in("cancel", finished_batch).stdout.startswith(f"{finished_batch} done: ")
