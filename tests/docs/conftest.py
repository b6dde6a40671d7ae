"""Pages, and a simulated server that their code talks to."""

import os
import sys
from collections.abc import Generator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

ROOT = Path(__file__).parents[2]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
)

DISTRIBUTED = {"dataset_on_daft_and_ray"}
"""Notebooks that `nox -s distributed` executes: they need Ray and Daft."""

# The code blocks are found with sybil, which only `nox -s docs` installs.
collect_ignore_glob = [] if find_spec("sybil") else ["test_*.py"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a ``page``, an ``example`` or a ``notebook`` for each of them."""
    found = {
        "page": PAGES,
        "example": sorted(ROOT.glob("examples/*.py")),
        "notebook": [path for path in sorted(ROOT.glob("notebooks/*.ipynb")) if path.stem not in DISTRIBUTED],
    }
    for name, paths in found.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, paths, ids=lambda path: path.relative_to(ROOT).as_posix())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def server_url() -> Generator[str]:
    """A simulated server in a thread; the pages call it http://localhost:6655."""
    with serve_in_thread(SimulatorSettings(lora_paths=("/loras/ink",))) as url:
        yield url


@pytest.fixture(scope="session")
def second_server_url() -> Generator[str]:
    """Another simulated server in a thread."""
    with serve_in_thread() as url:
        yield url


@pytest.fixture
def environment(server_url: str) -> Mapping[str, str]:
    """For processes: our own commands, the simulated server, and none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "VLLM_IMAGE_URL": server_url}
