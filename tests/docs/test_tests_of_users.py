"""Every test that a page shows is run as a user would run it: in a file of its own, with the fixtures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def shown(root: Path) -> list[str]:
    """The code blocks of the page on the simulator, and of the client's, that are tests."""
    pages = (root / "docs" / "simulator.md", root / "packages" / "vllm-omni-client" / "README.md")
    codes = (code for page in pages for code in BLOCK.findall(page.read_text(encoding="utf-8")))
    return [code for code in codes if re.search(r"^(async )?def test_", code, re.MULTILINE)]


def test_both_pages_show_a_test(root: Path) -> None:
    assert len(shown(root)) == 2


def test_the_tests_on_the_page_pass(root: Path, tmp_path: Path) -> None:
    for number, code in enumerate(shown(root)):
        tmp_path.joinpath(f"test_shown_{number}.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
    assert f"{len(shown(root))} passed" in done.stdout
