"""CI runs the tests on Windows and on a Mac, and no test there needs Unix."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

UNIX_ONLY = frozenset(
    (
        *("SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "chroot", "fchmod", "fork", "getuid", "geteuid"),
        *("killpg", "mkfifo", "openpty", "sched_getaffinity", "setrlimit", "statvfs"),
    )
)
UNIX_MODULES = frozenset(("fcntl", "grp", "pty", "pwd", "resource", "termios"))
GUARDS = ("sys.platform", "os.name", "pytest.skip", "importorskip", "hasattr", "geteuid")
"""What a test says if it has another form on Windows, or is skipped there."""

LINK = """
import errno
from pathlib import Path

def test_a_link(tmp_path):
    error = OSError(errno.EINVAL, "A required privilege is not held by the client")
    error.winerror = {code}
    raise error
"""


def test_ci_runs_the_tests_on_windows_and_on_a_mac_and_the_emulation(root: Path) -> None:
    text = (root / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert set(re.findall(r"\{ system: (\w+), python: ", text)) == {"windows", "macos"}
    [sessions] = re.findall(r"^        session: \[(.*)\]$", text, re.MULTILINE)
    assert {"types", "windows-like"} <= set(sessions.split(", "))


def test_types_are_checked_for_windows_and_a_mac(root: Path) -> None:
    session = next(each for each in functions_of(root / "noxfile.py") if each.name == "types")
    assert 'for system in ("Windows", "Darwin"):' in ast.unparse(session).replace("'", '"')


def test_files_are_checked_out_with_the_same_bytes_everywhere(root: Path) -> None:
    assert "* text=auto eol=lf" in (root / ".gitattributes").read_text("utf-8").splitlines()


def test_each_test_that_needs_unix_is_skipped_elsewhere(root: Path) -> None:
    files = [*root.glob("packages/*/tests/**/test_*.py"), *root.glob("tests/test_*.py")]
    assert len(files) > 100
    assert [use for file in files for use in unguarded(file, root)] == []


@pytest.mark.parametrize(("code", "outcome"), [(1314, "1 skipped"), (5, "1 failed")])
def test_links_that_windows_refuses_without_a_privilege_skip_a_test(
    root: Path, tmp_path: Path, code: int, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_bytes((root / "conftest.py").read_bytes())
    (tmp_path / "test_link.py").write_text(LINK.format(code=code), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    plugins = root / "packages" / "vllm-omni-client" / "tests" / "doubles"  # those that conftest.py names
    done = subprocess.run(
        [*command, tmp_path],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(plugins)},
    )
    assert outcome in done.stdout, done.stdout + done.stderr


def functions_of(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def unguarded(file: Path, root: Path) -> Iterator[str]:
    """Yield what a file's functions use without another form for Windows, or a skip."""
    marks = file.read_text("utf-8").partition("\npytestmark")[2].partition("\n\n")[0]
    for function in functions_of(file):
        if any(guard in ast.unparse(function) + marks for guard in GUARDS):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and node.attr in UNIX_ONLY:
                yield f"{file.relative_to(root)}: {function.name}: {node.attr}"
            if isinstance(node, ast.Import) and UNIX_MODULES & {each.name for each in node.names}:
                yield f"{file.relative_to(root)}: {function.name}: {ast.unparse(node)}"
