"""The plugin of Claude Code, by the program that installs it."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "folder", [ROOT / "packaging" / "claude-plugin", ROOT], ids=["plugin", "marketplace"]
)
def test_the_plugin_and_its_marketplace_are_valid(claude: Path, folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(claude), "plugin", "validate", "--strict", str(folder)],
        env={"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
