"""The command `completion`, and what a shell's script gets when it asks for completions."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_gets_a_script_that_asks_this_program(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"{shell}_complete" in result.stdout
    assert "vllm-image-mcp" in result.stdout


def test_an_unknown_shell_is_refused_with_those_that_are_known(run: Run) -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish', 'powershell'" in result.stderr


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [
        ("vllm-image-mcp\nge", "ge", ["generate\tGenerate one image, or several with -n."]),
        ("vllm-image-mcp\ngenerate\n--asp", "--asp", ["--aspect-ratio"]),
        ("vllm-image-mcp\nhealth", "", []),
    ],
)
def test_powershell_gets_a_line_for_each_completion(
    run: Run, typed: str, word: str, offered: list[str]
) -> None:
    asked = {
        "_VLLM_IMAGE_MCP_COMPLETE": "powershell_complete",
        "_VLLM_IMAGE_MCP_WORDS": typed,
        "_VLLM_IMAGE_MCP_WORD": word,
    }
    lines = run(env=asked).stdout.strip().splitlines()
    assert len(lines) == len(offered)
    assert all(line.startswith(each) and "\t" in line for line, each in zip(lines, offered, strict=True))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_is_valid(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout, encoding="utf-8")
    checked = subprocess.run(["bash", "-n", str(script)], check=False)  # noqa: S607 - as found in the path
    assert checked.returncode == 0


def test_bash_gets_the_commands_that_begin_alike(run: Run) -> None:
    asked = {
        "_VLLM_IMAGE_MCP_COMPLETE": "bash_complete",
        "COMP_WORDS": "vllm-image-mcp ba",
        "COMP_CWORD": "1",
    }
    assert run(env=asked).stdout.split() == ["plain,batch", "plain,batches"]
