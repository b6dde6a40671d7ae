"""The notebooks are executed from their first cell to their last, in a kernel of their own."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 60


def outputs_of(notebook: Path) -> Iterator[dict[str, Any]]:
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        yield from cell.get("outputs", [])


def test_a_notebook_is_kept_without_its_outputs(notebook: Path) -> None:
    assert list(outputs_of(notebook)) == []


def test_a_notebook_runs_to_its_end_and_shows_its_pictures(
    notebook: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    copy = shutil.copy2(notebook, tmp_path)
    command = shutil.which("jupyter-execute", path=environment["PATH"])
    assert command
    done = subprocess.run(
        [command, "--inplace", f"--timeout={DEADLINE_SECONDS}", copy],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    outputs = list(outputs_of(Path(copy)))
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert shown & {"image/png", "image/jpeg", "image/webp"}
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
