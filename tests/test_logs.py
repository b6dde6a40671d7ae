"""The log of `--log-level DEBUG`: a person can follow a batch in it, and it gives no secret away."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from vllm_omni_client.simulator import Fault, SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

SMALL: Final = ("--width", "64", "--height", "64")
KEY: Final = "canary-7f3a"
PROMPTS: Final = tuple(f"a secret fox number {number} in the snow" for number in range(6))


@pytest.fixture
def failing() -> Iterator[str]:
    """A server that fails at every image although its health is good."""
    faults = (Fault.parse("status,status=500"),)
    with serve_in_thread(SimulatorSettings(api_key=KEY, faults=faults)) as url:
        yield url


@pytest.fixture
def healthy() -> Iterator[str]:
    with serve_in_thread(SimulatorSettings(api_key=KEY)) as url:
        yield url


def test_the_log_tells_the_story_of_a_batch_on_a_failing_and_a_healthy_server(
    failing: str, healthy: str, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    log = log_of("batch", str(prompts), *SMALL, urls=[failing, healthy], folder=tmp_path)

    [batch] = set(re.findall(r"INFO vllm_image_core\.batches\.runner: Batch (batch_\w+) started", log))
    assert re.search(rf"Batch {batch} ended \(done\): 6 done, 0 failed", log)
    assert f"INFO vllm_image_core.fleet.server: Server {failing} gets no requests until it is healthy" in log
    # One request that the failing server got, from its dispatch to its file.
    failed = rf"(batch_\w+ #\d): failed on {re.escape(failing)} with ServerError \(HTTP 500\)"
    found = re.search(failed, log)
    assert found
    assert in_order(
        [line for line in log.splitlines() if f" {found[1]}: " in line],
        "batches.recorder: .* started",
        f"fleet.scheduler: .* sent to {failing}",
        f"vllm_omni_client: .* POST {failing}/v1/images/generations: attempt 1$",
        r"vllm_omni_client: .* attempt 1 failed: ServerError \(HTTP 500\); not retried",
        f"fleet.failover: .* failed on {failing}",
        "fleet.failover: .* waiting for the next server",
        f"fleet.scheduler: .* sent to {healthy}",
        f"vllm_omni_client: .* POST {healthy}/v1/images/generations: attempt 1 was answered",
        "batches.recorder: .* saved as .*png",
    )
    assert KEY not in log
    assert not [prompt for prompt in PROMPTS if prompt in log]


def test_the_log_shows_each_retry_of_a_single_server_and_how_long_it_waits(tmp_path: Path) -> None:
    faults = (Fault.parse("status,status=503@1"),)
    with serve_in_thread(SimulatorSettings(api_key=KEY, faults=faults)) as url:
        log = log_of("generate", PROMPTS[0], *SMALL, urls=[url], folder=tmp_path)
    assert in_order(
        log.splitlines(),
        r"POST \S+: attempt 1$",
        r"attempt 1 failed: ServerBusy \(HTTP 503\); retrying in \d+\.\d s",
        r"POST \S+: attempt 2$",
        "attempt 2 was answered",
    )
    assert KEY not in log
    assert PROMPTS[0] not in log


def in_order(lines: list[str], *patterns: str) -> bool:
    """Whether each pattern is found in a line behind that of the one before."""
    rest = iter(lines)
    for pattern in patterns:
        assert any(re.search(pattern, line) for line in rest), (pattern, lines)
    return True


def log_of(*arguments: str, urls: list[str], folder: Path) -> str:
    """What a command writes to stderr at the level DEBUG."""
    run = subprocess.run(
        [sys.executable, "-m", "vllm_image_mcp", *arguments],
        env={
            **os.environ,
            "VLLM_IMAGE_URL": ",".join(urls),
            "VLLM_IMAGE_API_KEY": KEY,
            "VLLM_IMAGE_LOG_LEVEL": "DEBUG",
        },
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stderr
