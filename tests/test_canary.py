"""A leak of the key is found wherever it happens: a test that leaks it in each of the ways fails."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import parse

ROOT = Path(__file__).parents[1]
TESTS = """
import logging, subprocess, sys
import pytest
from canary import CANARY
from vllm_omni_client import OmniClient

def test_printed():
    print(CANARY)

def test_logged():
    logging.getLogger("vllm_omni_client").debug("Bearer %s", CANARY)

def test_printed_by_a_process():
    subprocess.run([sys.executable, "-c", f"print({CANARY!r})"], capture_output=True)

def test_logged_by_a_process():
    subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write({CANARY!r})"], capture_output=True)

def test_kept():
    with OmniClient("http://gpu:1") as client:
        assert CANARY not in repr(client)

@pytest.mark.own_key
def test_saved(tmp_path):
    (tmp_path / "image.png").write_bytes(b"PNG " + CANARY.encode())
"""


def test_each_kind_of_leak_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(TESTS, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = own_key: as it says\n", "utf-8")
    report = tmp_path / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "canary", "-p", "no:cacheprovider"),
            *(f"--junitxml={report}", f"--basetemp={tmp_path / 'temporary'}", "test_leaks.py"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "packages/vllm-omni-client/tests/doubles")},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        check=False,
        timeout=300,
    )
    cases = parse(report).getroot().iter("testcase")  # noqa: S314 - written just now
    outcomes = [(str(case.get("name")), next((each.tag for each in case), "passed")) for case in cases]
    for leaked in (report, *(tmp_path / "temporary").rglob("*.png")):
        leaked.unlink()
    failing = ["test_printed", "test_logged", "test_printed_by_a_process", "test_logged_by_a_process"]
    assert [name for name, outcome in outcomes if outcome == "failure"] == failing
    assert ("test_kept", "passed") in outcomes
    assert ("test_saved", "error") in outcomes
