"""Command lines on every system: arguments as typed, any text in the output, paths expanded by us."""

import errno
import os
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from vllm_image_mcp.cli import main
from vllm_image_mcp.command_line import Command, FileArgument, Group, PathArgument, matching_paths

TYPED = ("100%% wool", "$$ on gold", "a tag saying $PRICE", "%USERNAME% in neon", "~ waves ~", "*", "cat ?")


class _Windows(types.ModuleType):
    """The module `os` as click sees it on Windows."""

    name = "nt"

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.mark.parametrize("group", [False, True])
def test_on_windows_arguments_arrive_as_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, group: bool
) -> None:
    monkeypatch.setattr("click.core.os", _Windows("os"))  # emulated: click expands where the system is "nt"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat 7").touch()
    monkeypatch.setenv("PRICE", "9")
    received: list[str] = []

    def receive(words: tuple[str, ...]) -> None:
        received.extend(words)

    words = click.Argument(["words"], nargs=-1)
    program = Command("show", params=[words], callback=receive)
    monkeypatch.setattr(sys, "argv", ["program", *(["show"] if group else []), *TYPED])
    (Group("all", commands=[program]) if group else program).main(standalone_mode=False)
    assert tuple(received) == TYPED


def test_both_programs_take_their_arguments_as_typed() -> None:
    from vllm_image_mcp import server  # noqa: PLC0415 - slow to import

    assert isinstance(main, Group)
    assert isinstance(server.main, Command)


def printed(text: str, *, encoding: str, before: str = "") -> bytes:
    """What a redirected stdout has after a command printed a text, started with that encoding."""
    code = (
        f"import click\n{before}\nfrom vllm_image_mcp.command_line import Command\n"
        f"Command('x', callback=lambda: click.echo({text!a})).main()"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    ).stdout.rstrip()


@pytest.mark.parametrize("text", ["a 🦊", "Łukasz", "雪", "lone \ud800"])
def test_redirected_output_is_utf8_on_every_system(text: str) -> None:
    assert printed(text, encoding="cp1252") == text.encode("utf-8", "backslashreplace")


def test_a_terminal_keeps_its_encoding_and_shows_missing_characters_as_escapes() -> None:
    terminal = (
        "import io, sys\nclass Terminal(io.TextIOWrapper):\n    def isatty(self): return True\n"
        "sys.stdout = Terminal(sys.stdout.buffer, encoding='cp1252')"
    )
    assert printed("é 🦊", encoding="cp1252", before=terminal) == b"\xe9 \\U0001f98a"


def test_a_command_runs_without_the_streams_that_pythonw_and_services_lack(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom vllm_image_mcp.cli import main\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "main(['generate', 'a 🦊', '--demo', '--width', '64', '--height', '64'])"
    )
    environment = {**os.environ, "VLLM_IMAGE_OUTPUT_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(list(tmp_path.glob("*.png"))) == 1


LOST = """
import io, os, stat, sys

class Lost(io.RawIOBase):
    def writable(self): return True
    def fileno(self): return {number}
    def write(self, data):
        if stat.S_ISCHR(os.fstat({number}).st_mode):  # the null device has taken its place
            return len(data)
        raise OSError({code}, "it is lost")

sys.{stream} = io.TextIOWrapper(io.BufferedWriter(Lost()), encoding="utf-8")
from vllm_image_mcp.cli import main
main({words}, prog_name="vllm-image-mcp")
"""
"""A command one of whose streams cannot be written (emulated)."""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], errno.ENOSPC),
        (["rate", "-h"], errno.EPIPE),
        (["--version"], errno.EINVAL),
        (["styles"], errno.ENOSPC),
        (["styles"], errno.EINVAL),
    ],
)
def test_unprintable_help_and_answers_end_in_plain_words_or_silence(words: Sequence[str], code: int) -> None:
    program = LOST.format(stream="stdout", number=1, code=code, words=words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    said = "Error: stdout cannot be written: it is lost.\n" if code == errno.ENOSPC else ""
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("words", [["paint"], ["rate", "keep", "missing.png"]])
def test_an_unprintable_error_is_a_failure_and_not_another_error(words: Sequence[str]) -> None:
    program = LOST.format(stream="stderr", number=2, code=errno.ENOSPC, words=words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_an_unrelated_system_error_is_not_taken_for_lost_output() -> None:
    def fail() -> None:
        raise PermissionError(errno.EACCES, "denied", "fox.png")

    with pytest.raises(PermissionError):
        Command("fail", callback=fail).main([])


def test_paths_in_arguments_may_start_with_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / "prompts.txt").write_bytes(b"a fox")
    assert PathArgument().convert("~/x.png", None, None) == tmp_path / "x.png"
    assert PathArgument().convert("~nobody-of-that-name/x", None, None) == Path("~nobody-of-that-name/x")
    with FileArgument().convert("~/prompts.txt", None, None) as file:
        assert file.read() == b"a fox"


def test_a_pattern_means_the_files_that_it_matches(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.txt", "[1].png"):
        (tmp_path / name).touch()
    assert matching_paths(tmp_path / "?.png") == [tmp_path / "a.png", tmp_path / "b.png"]
    assert matching_paths(tmp_path / "[1].png") == [tmp_path / "[1].png"]
    assert matching_paths(tmp_path / "*.webp") == [tmp_path / "*.webp"]
    assert matching_paths(tmp_path / "none.png") == [tmp_path / "none.png"]
