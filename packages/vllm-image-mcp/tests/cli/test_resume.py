"""The command `resume`."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from conftest import OmniServer

RunIn = Callable[..., Result]


def test_a_finished_batch_sends_nothing_more(run_in: RunIn, finished_batch: str, omni: "OmniServer") -> None:
    again = run_in("resume", finished_batch, "--json", url=omni.url)
    assert (again.exit_code, again.stdout) == (0, "")
    assert len(omni.requests) == 2


def test_an_unknown_id_is_one_line_on_stderr(run_in: RunIn) -> None:
    result = run_in("resume", "batch_0")
    assert result.exit_code == 1
    assert "Batch 'batch_0' is not known here. `vllm-image-mcp batches` lists the batches in" in result.stderr


def test_each_resume_lists_the_requests_that_failed_before(
    run_in: RunIn, only_batch: Callable[[], str], omni: "OmniServer", tmp_path: Path
) -> None:
    omni.failures["an owl"] = (400, "no owls here")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox\nan owl\na hare\n", encoding="utf-8")
    run_in("batch", str(prompts), "--width", "64", "--height", "64", url=omni.url)
    name = only_batch()
    for result in (run_in("resume", name, url=omni.url), run_in("resume", name, url=omni.url)):
        [failed] = [line for line in result.stderr.splitlines() if "failed before" in line]
        assert failed.startswith("request 1 failed before: ")
        assert "no owls here" in failed
        assert result.exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_the_concurrency_given_to_batch_is_kept_by_resume_until_another_is_given(
    tmp_path: Path, omni: "OmniServer", run_in: RunIn, only_batch: Callable[[], str]
) -> None:
    (tmp_path / "prompts.txt").write_text("a fox\nan owl\n", encoding="utf-8")
    prompts = str(tmp_path / "prompts.txt")
    first = run_in("batch", prompts, "--width", "64", "--max-concurrent", "3", url=omni.url).stderr
    options = ((), ("--max-concurrent", "2"), ())
    name = only_batch()
    later = [run_in("resume", name, *each, url=omni.url).stderr for each in options]
    assert [re.findall(r"(\d+) at a time", each) for each in (first, *later)] == [["3"], ["3"], ["2"], ["2"]]


def test_p03_after_kill_9_resume_generates_what_is_missing(
    shell: subprocess.Popen[str],
    omni: "OmniServer",
    tmp_path: Path,
    run_in: RunIn,
    only_batch: Callable[[], str],
) -> None:
    shell.kill()
    shell.wait(60)
    omni.release()
    again = run_in("resume", only_batch(), "--json", url=omni.url)
    assert again.exit_code == 0, again.stderr
    assert len(list((tmp_path / "made").glob("*.png"))) == 8
    sent = [each["prompt"] for each in omni.requests]
    assert {prompt: sent.count(prompt) for prompt in sent if sent.count(prompt) > 1} == {"fox 2": 2}
