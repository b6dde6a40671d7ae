"""The official conformance suite against our server over HTTP, in both eras of the protocol."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Node

DEADLINE_SECONDS = 180.0
SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
SCENARIOS = [
    *(
        ("2025-11-25", name)
        for name in (
            "server-initialize",
            "ping",
            "tools-list",
            "resources-list",
            "prompts-list",
            "dns-rebinding-protection",
        )
    ),
    *(
        ("2026-07-28", name)
        for name in (
            "caching",
            "http-header-validation",
            "sep-2164-resource-not-found",
            "server-stateless",
            "tools-list",
            "prompts-list",
        )
    ),
]
NEED_A_TOOL_OF_THE_SUITE = {
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-missing-capability-http-400",
}
"""Checks that call a tool which only the suite's own server has."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over HTTP in demo mode."""
    options = ["serve", "--transport", "http", "--port", "0", "--demo"]
    folder = tmp_path_factory.mktemp("images")
    process = subprocess.Popen(
        [sys.executable, "-m", "vllm_image_mcp", *options, "--output-dir", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(DEADLINE_SECONDS, process.kill)
    timer.start()
    assert process.stderr
    found = re.search(r"http://\S+/mcp", process.stderr.readline())
    timer.cancel()
    try:
        assert found
        yield found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("version", "scenario"), SCENARIOS)
def test_a_generic_scenario_passes(
    node: "Node", url: str, version: str, scenario: str, tmp_path: Path
) -> None:
    options = ["--url", url, "--spec-version", version, "--scenario", scenario, "-o", str(tmp_path)]
    done = node.tried(SUITE, "server", *options)
    said = re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)
    failed = set(re.findall(r"\[([\w-]+) *\] +FAILURE", said)) - NEED_A_TOOL_OF_THE_SUITE
    assert failed == set[str](), said
    assert re.search(r"Passed: [1-9]", said), said
