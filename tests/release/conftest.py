"""The distributions that a release would publish, built once.

Their tests run in the nox session `release`, which installs the tools; without it none of them is collected.
"""

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("vllm-omni-client", "vllm-image-core", "vllm-image-mcp")
DEADLINE_SECONDS = 600.0

collect_ignore_glob = [] if find_spec("twine") else ["test_*.py"]


def build(folder: Path) -> Path:
    """Build every package into a folder of its own name."""
    for package in PACKAGES:
        subprocess.run(
            ["uv", "build", "--quiet", f"--package={package}", f"--out-dir={folder / package}"],  # noqa: S607 - nox has it
            cwd=ROOT,
            check=True,
            timeout=DEADLINE_SECONDS,
        )
        (folder / package / ".gitignore").unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def dist_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("again"))
