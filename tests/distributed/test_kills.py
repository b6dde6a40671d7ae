"""Whatever is killed, each image is there once afterwards, and nothing finished is generated again.

KILLS in the environment is how many times each is killed, at random moments: 1 unless it says otherwise.
As a longer test, run `KILLS=30 uvx nox -s distributed -- tests/distributed/test_kills.py`.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from server_pair import ServerPair
from vllm_image_core import ImageRow, generate_dataset

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("daft")
pytest.importorskip("ray")

Finished = Callable[[Path], list[ImageRow]]

KILLS = int(os.environ.get("KILLS", "1"))
ROWS = 200 + 200 * KILLS
WINDOW = 8
"""Requests in flight, which a kill may waste."""

PAUSE_SECONDS = 1.0
"""The longest pause before a kill."""

POLL_SECONDS = 0.1

DRIVER = """
import sys
from vllm_image_core import generate_dataset

source, out, engine, address, *servers = sys.argv[1:]
generate_dataset(
    source, out, servers=servers, engine=engine, address=address or None, max_in_flight=8,
    on_progress=lambda progress: print(progress.ended_count, flush=True),
)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "prompts.parquet")
    return tmp_path / "prompts.parquet"


def kill_driver(command: list[str], draw: random.Random) -> None:
    """Start a run, and kill its process group at a random moment after its first progress."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=draw.uniform(0, PAUSE_SECONDS / 2))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)


@pytest.mark.parametrize("engine", ["local", "daft", "ray"])
def test_the_process_of_a_run_is_killed(
    engine: Any,  # noqa: ANN401 - a parameter
    source: Path,
    servers: ServerPair,
    finished: Finished,
    request: pytest.FixtureRequest,
) -> None:
    draw = random.Random(1)
    out = source.parent / "out"
    address = request.getfixturevalue("ray_address") if engine == "ray" else ""
    for _ in range(KILLS):
        kill_driver(
            [sys.executable, "-c", DRIVER, str(source), str(out), engine, address, *servers.urls], draw
        )

    generate_dataset(source, out, servers=servers.urls, engine=engine)

    assert len(finished(out)) == ROWS
    assert servers.generated <= ROWS + KILLS * WINDOW


class ProcessKiller(threading.Thread):
    """Kills processes of Ray by the names that it gives them, at random moments after the first image.

    Attributes:
        killed: Their ids, in order.
    """

    def __init__(self, name: str, servers: ServerPair) -> None:
        super().__init__()
        self.killed: list[int] = []
        self._name = name
        self._servers = servers
        self._draw = random.Random(name)
        self._stopped = threading.Event()

    def run(self) -> None:
        while not (self._servers.generated or self._stopped.wait(POLL_SECONDS)):
            pass
        while len(self.killed) < KILLS and not self._stopped.wait(self._draw.uniform(0, PAUSE_SECONDS)):
            for pid in self._find()[:1]:
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _find(self) -> list[int]:
        found: list[int] = []
        for each in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.pid not in self.killed and any(self._name in part for part in each.cmdline()):
                    found.append(each.pid)
        return found


def test_the_node_generator_and_the_worker_of_ray_are_killed(
    source: Path, servers: ServerPair, finished: Finished, ray_address: str
) -> None:
    assert ray_address
    out = source.parent / "out"
    killers = [ProcessKiller(name, servers) for name in ("_NodeGenerator", "MapWorker")]
    for killer in killers:
        killer.start()

    try:
        generate_dataset(source, out, servers=servers.urls, engine="ray", max_in_flight=WINDOW)
    finally:
        for killer in killers:
            killer.stop()

    assert [len(killer.killed) for killer in killers] == [KILLS, KILLS]
    assert len(finished(out)) == ROWS
    assert servers.generated <= ROWS + len(killers) * KILLS * WINDOW
