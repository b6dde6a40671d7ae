"""The command `completion`, and what a shell's script gets when it asks for completions."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

DEADLINE_SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[\[(][0-9;?<>=]*[ -/]*[@-~]|\x1b.")


def needs(shell: str) -> pytest.MarkDecorator:
    there = sys.platform != "win32" and shutil.which(shell) is not None
    return pytest.mark.skipif(not there, reason=f"needs {shell} and a pseudo-terminal")


def type_into(folder: Path, command: Sequence[str], typed: str, *, until: str) -> str:
    """Type something into a shell on a terminal of its own; return its screen once it shows some text."""
    home = {"HOME": str(folder), "ZDOTDIR": str(folder), "XDG_CONFIG_HOME": str(folder), "TERM": "xterm"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **home, "PATH": path},
    ) as terminal:
        assert terminal.stdin
        assert terminal.stdout
        keys, screen = terminal.stdin.fileno(), terminal.stdout.fileno()
        deadline = time.monotonic() + DEADLINE_SECONDS
        try:
            while time.monotonic() < deadline and until not in (text := plain(shown)):
                if select.select([screen], [], [], 0.5)[0]:
                    shown += (read := os.read(screen, 65_536))
                    if b"\x1b[c" in read:  # fish asks what terminal this is, and waits for an answer
                        os.write(keys, b"\x1b[?62c")
                elif typed and text:  # the prompt is there, and the shell is quiet
                    os.write(keys, typed.encode())
                    typed = ""
        finally:
            terminal.kill()
    return plain(shown)


def plain(shown: bytes) -> str:
    return _ESCAPES.sub("", shown.decode(errors="replace"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_gets_a_script_that_asks_this_program(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"{shell}_complete" in result.stdout
    assert "vllm-image-mcp" in result.stdout


def test_an_unknown_shell_is_refused_with_the_known_ones(run: Run) -> None:
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


LOAD = {
    "bash": ("--rcfile", "rc", "-i"),
    "zsh": ("-d", "-i"),
    "fish": ("--init-command", "source rc", "-i"),
}
"""How each shell is started so that it reads the script: zsh reads .zshrc in ZDOTDIR."""


@pytest.mark.parametrize("shell", [pytest.param(each, marks=needs(each)) for each in LOAD])
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("vllm-image-mcp gene", "vllm-image-mcp generate "),
        ("vllm-image-mcp generate --asp", "generate --aspect-ratio "),
    ],
)
def test_a_shell_completes_what_is_typed(
    run: Run, tmp_path: Path, shell: str, typed: str, completed: str
) -> None:
    script = run("completion", shell).stdout
    before = "autoload -Uz compinit; compinit -u\n" if shell == "zsh" else ""
    for name in ("rc", ".zshrc"):
        (tmp_path / name).write_text(before + script, encoding="utf-8")
    screen = type_into(tmp_path, (shell, *LOAD[shell]), f"{typed}\t", until=completed)
    assert completed in screen


def test_bash_gets_the_commands_with_the_same_beginning(run: Run) -> None:
    asked = {
        "_VLLM_IMAGE_MCP_COMPLETE": "bash_complete",
        "COMP_WORDS": "vllm-image-mcp ba",
        "COMP_CWORD": "1",
    }
    assert run(env=asked).stdout.split() == ["plain,batch", "plain,batches"]
