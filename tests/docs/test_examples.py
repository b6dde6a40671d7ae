"""Every example runs as it is, but for the address of its server."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCUMENTED_URL = "http://localhost:6655"
DEADLINE_SECONDS = 60.0


def test_an_example_runs_and_prints(
    example: Path, server_url: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    script = tmp_path / example.name
    script.write_text(example.read_text("utf-8").replace(DOCUMENTED_URL, server_url), "utf-8")

    run = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        timeout=DEADLINE_SECONDS,
        check=False,
        text=True,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip()
