"""A fixture that the tests of the commands share: a command line in an empty folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vllm_image_mcp.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, arguments, env=env, input=stdin, prog_name="vllm-image-mcp")

    return command
