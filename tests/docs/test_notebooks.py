"""The notebooks are executed from their first cell to their last, in a kernel of their own."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 240
MOST_BYTES = 600_000


def outputs_of(notebook: Path) -> Iterator[dict[str, Any]]:
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        yield from cell.get("outputs", [])


def test_a_notebook_is_stored_with_small_outputs_that_show_images_and_no_error(notebook: Path) -> None:
    outputs = list(outputs_of(notebook))
    shown = "".join(json.dumps(output) for output in outputs)
    assert '<img src=\\"data:image' in shown
    assert any(kind.startswith("image/") for output in outputs for kind in output.get("data", {}))
    assert notebook.stat().st_size < MOST_BYTES
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [word for word in ("/tmp/", "/root/", "/Users/", "/home/", "object at 0x") if word in shown]  # noqa: S108


def test_a_notebook_runs_to_its_end_and_shows_its_images(
    notebook: Path, environment: Mapping[str, str], second_server_url: str, tmp_path: Path
) -> None:
    environment = {**environment, "VLLM_IMAGE_URL_2": second_server_url}
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
    assert shown & {"image/png", "image/jpeg"}
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
