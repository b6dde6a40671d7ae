"""Several simulated servers on ports, each a process of its own that can be killed."""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from vllm_image_core.batches.items import Done
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.provenance.recipe import KEYWORD
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio

DEADLINE_SECONDS = 60.0


class Server:
    """A simulated server in its own process."""

    def __init__(self, stack: ExitStack, *options: str) -> None:
        self._stack = stack
        self._options = options
        self.url = ""
        self.start(port=0)

    def start(self, port: int) -> None:
        command = [sys.executable, "-m", "vllm_omni_client.simulator", f"--port={port}", *self._options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._stack.enter_context(self._process)
        self._stack.callback(self._process.kill)
        assert self._process.stderr
        found = re.search(r"http://\S+", self._process.stderr.readline())
        assert found
        self.url = found[0]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def start_again(self) -> None:
        self.start(port=int(self.url.rpartition(":")[2]))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def requests(count: int) -> list[ImageRequest]:
    return [ImageRequest(prompt=f"fox {number}", seed=number, width=64, height=64) for number in range(count)]


def told(path: Path) -> dict[str, object]:
    """What an image's file records about how it was made."""
    facts: dict[str, object] = json.loads(read_text(path.read_bytes())[KEYWORD])
    return facts


async def test_a_batch_completes_although_one_of_three_servers_is_killed_and_restarted(
    stack: ExitStack, tmp_path: Path
) -> None:
    servers = [Server(stack, "--speed=1") for _ in range(3)]
    made: Counter[str | None] = Counter()

    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Studio(
            [server.url for server in servers], output_dir=tmp_path, gpu=Gpu(total_vram_gb=80.0)
        ) as studio,
        await studio.batch(requests(30)) as batch,
    ):
        async for outcome in batch:
            assert isinstance(outcome, Done), outcome
            made[outcome.value.server] += 1
            if made.total() == 10:
                await asyncio.to_thread(servers[0].kill)
            if made.total() == 20:
                await asyncio.to_thread(servers[0].start_again)

    assert made.total() == 30
    assert set(made) == {server.url for server in servers}
    assert len(list(tmp_path.glob("*.png"))) == 30


async def test_an_image_knows_which_server_generated_it(stack: ExitStack, tmp_path: Path) -> None:
    servers = [Server(stack) for _ in range(2)]
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Studio([server.url for server in servers], output_dir=tmp_path) as studio,
    ):
        image = await studio.generate("a red fox", width=64, height=64)
    assert image.server in {server.url for server in servers}
    assert told(image.path)["server"] == image.server


async def test_servers_of_two_versions_are_distinguished_and_each_image_has_its_own(
    stack: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = [Server(stack), Server(stack, "--server-version=0.26.0")]
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Studio([server.url for server in servers], output_dir=tmp_path) as studio,
        await studio.batch(requests(12)) as batch,
    ):
        versions = {
            (outcome.value.server, told(outcome.value.path)["server_version"])
            async for outcome in batch
            if isinstance(outcome, Done)
        }
    assert versions == {(servers[0].url, "0.30.0"), (servers[1].url, "0.26.0")}
    assert "the same seed may give another image there" in caplog.text
