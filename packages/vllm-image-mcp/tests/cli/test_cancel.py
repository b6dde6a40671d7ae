"""The command `cancel`."""

from collections.abc import Callable

from click.testing import Result

RunIn = Callable[..., Result]


def test_a_finished_batch_stays_finished(run_in: RunIn, finished_batch: str) -> None:
    cancelled = run_in("cancel", finished_batch)
    assert cancelled.stdout == f"{finished_batch} done: 2 done, 0 failed, 0 cancelled\n"


def test_an_unknown_id_is_one_line_on_stderr(run_in: RunIn) -> None:
    result = run_in("cancel", "batch_0")
    assert result.exit_code == 1
    assert "Batch 'batch_0' is not known here. `vllm-image-mcp batches` lists the batches in" in result.stderr
