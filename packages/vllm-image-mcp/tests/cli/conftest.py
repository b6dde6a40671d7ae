"""Fixtures that the tests of the commands share: a command line, and a batch that is interrupted."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from vllm_image_mcp.cli import main

if TYPE_CHECKING:
    from conftest import OmniServer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, arguments, env=env, input=stdin, prog_name="vllm-image-mcp")

    return command


@pytest.fixture
def run_in(tmp_path: Path) -> Callable[..., Result]:
    """Run a command that saves in the folder ``made``, with the demo server unless another is given."""

    def command(name: str, *arguments: str, url: str | None = None) -> Result:
        server = ("--demo",) if url is None else ("--vllm-url", url)
        return CliRunner().invoke(main, [name, *server, "--output-dir", str(tmp_path / "made"), *arguments])

    return command


@pytest.fixture
def only_batch(run_in: Callable[..., Result]) -> Callable[[], str]:
    """Return the id of the one batch in the folder ``made``."""

    def listed() -> str:
        [each] = run_in("batches", "--json").stdout.splitlines()
        return str(json.loads(each)["id"])

    return listed


@pytest.fixture
def finished_batch(
    run_in: Callable[..., Result], only_batch: Callable[[], str], omni: "OmniServer", tmp_path: Path
) -> str:
    """The id of a batch of two images that are done."""
    (tmp_path / "prompts.txt").write_text("a fox\nan owl\n", encoding="utf-8")
    small = ("--width", "64", "--height", "64")
    assert run_in("batch", str(tmp_path / "prompts.txt"), *small, url=omni.url).exit_code == 0
    return only_batch()


@pytest.fixture
def shell(tmp_path: Path, omni: "OmniServer") -> Iterator[subprocess.Popen[str]]:
    """The command `batch` in a process of its own; the third image and all later ones wait."""
    (tmp_path / "prompts.txt").write_text("\n".join(f"fox {number}" for number in range(8)), encoding="utf-8")
    omni.hold_after(2)
    words = [
        "batch",
        str(tmp_path / "prompts.txt"),
        "--output-dir",
        str(tmp_path / "made"),
        "--width",
        "64",
        "--height",
        "64",
    ]
    command = [sys.executable, "-m", "vllm_image_mcp", *words, "--vllm-url", omni.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        omni.wait_for(3)
        yield process
    finally:
        process.kill()
        process.communicate()
