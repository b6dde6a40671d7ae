"""Execute the notebooks against two simulated servers, and keep their outputs, small enough to commit.

Run it with `uvx nox -s notebooks`. Outputs show what a reader sees on a web page, so nothing in them names
this machine: each notebook runs in a home folder of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nbformat as untyped
from nbclient import NotebookClient

nbformat: Any = untyped

FOLDER = Path(__file__).parent
PORTS = (6655, 6656)
CELL_SECONDS = 600
START_SECONDS = 60
WIDGET = "application/vnd.jupyter.widget-view+json"


@contextmanager
def simulated_server(port: int, *options: str) -> Generator[str]:
    """A simulated server on a port of this machine, started with the command that readers use."""
    command = shutil.which("vllm-omni-simulator", path=os.pathsep.join([str(Path(sys.executable).parent)]))
    if command is None:
        raise RuntimeError('install "vllm-omni-client[simulator]" first')
    url = f"http://localhost:{port}"
    with subprocess.Popen(
        [command, f"--port={port}", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(url)
            yield url
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(START_SECONDS * 10):
        try:
            opener.open(f"{url}/health", timeout=1).close()
        except OSError:
            subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1)"], check=True)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


def execute(notebook: Path, environment: Mapping[str, str]) -> Any:  # noqa: ANN401 - nbformat has no types
    """Return the notebook with the outputs of a run from its first cell to its last."""
    found = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as home:
        resources = {"metadata": {"path": home}}
        client = NotebookClient(found, timeout=CELL_SECONDS, resources=resources, store_widget_state=False)
        client.execute(env={**os.environ, **environment, "HOME": home, "USERPROFILE": home})
    return found


def without_noise(notebook: Any) -> Any:  # noqa: ANN401 - likewise
    """Drop what changes with each run and no web page shows: times, closed widgets, and logs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:
            cell.outputs = [
                each
                for each in cell.outputs
                if WIDGET not in each.get("data", {}) and each.get("name") != "stderr"
            ]
    return notebook


def main(names: Sequence[str]) -> None:
    """Execute the notebooks of these names, or all."""
    with ExitStack() as servers:
        urls = [servers.enter_context(simulated_server(port)) for port in PORTS]
        environment = {"VLLM_IMAGE_URL": urls[0], "VLLM_IMAGE_URL_2": urls[1]}
        for path in sorted(FOLDER.glob("*.ipynb")):
            if not names or path.stem in names:
                nbformat.write(without_noise(execute(path, environment)), path)
                print(path.name, f"{path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main(sys.argv[1:])
