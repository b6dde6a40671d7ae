"""What a person sees under the cells of a notebook, in a kernel of its own."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat import v4 as untyped

v4: Any = untyped
Run = Callable[..., list[list[Any]]]
CELL_SECONDS = 60
MOST_LINES = 20


@pytest.fixture
def run(tmp_path: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run cells in a new kernel, and return the outputs of each."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*cells: str) -> list[list[Any]]:
        notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
        folder = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=CELL_SECONDS, allow_errors=True, resources=folder).execute()
        return [cell.outputs for cell in notebook.cells]

    return run


def plain(lines: list[str]) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines)).split("\n")


def test_values_show_themselves_as_html_and_as_a_few_lines(run: Run) -> None:
    _, *outputs = run(
        "import os\nfrom vllm_image_core import Studio\nstudio = Studio(os.environ['VLLM_IMAGE_URL'])",
        "studio",
        "await studio.health()",
        "await studio.estimate()",
        'await studio.generate("a fox", width=64, height=64)',
        "await studio.find()",
        "await studio.model()",
        "studio.servers",
    )
    for [output] in outputs:
        assert output.data["text/html"].startswith("<div")
        assert 1 < len(output.data["text/plain"].splitlines()) <= MOST_LINES
        assert "(" not in output.data["text/plain"].split()[0]


def test_a_dead_server_is_an_error_of_a_few_lines_with_its_next_step(run: Run) -> None:
    outputs = run(
        'from vllm_image_core import ImageRequest, Studio\nstudio = Studio("http://127.0.0.1:9")',
        'await studio.generate("a fox")',
        'await studio.batch([ImageRequest(prompt="a fox")])',
        "await studio.estimate()",
        'from vllm_omni_client import OmniClient\nOmniClient("http://127.0.0.1:9").get_models()',
    )

    for number, [shown] in enumerate(outputs[1:], start=2):
        lines = plain(shown.traceback)
        assert shown.ename == "ServerUnreachable"
        assert len(lines) <= MOST_LINES
        assert lines[0].startswith(f"Cell In[{number}], line ")
        assert any(line.startswith("Next: Start the server") for line in lines)
        assert not any("httpx" in line for line in lines)
