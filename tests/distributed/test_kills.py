"""Whatever is killed, each image is there once afterwards, and nothing finished is generated again.

KILLS in the environment is how many times a run is killed, 3 unless it says otherwise.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from server_pair import ServerPair
from vllm_image_core import DatasetProgress, ImageRow, generate_dataset

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("daft")
ray: Any = pytest.importorskip("ray")

Finished = Callable[[Path], list[ImageRow]]

KILLS = int(os.environ.get("KILLS", "3"))
ROWS = max(300, 60 * KILLS)
WINDOW = 8
DEADLINE_SECONDS = 240
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
            driver.wait(timeout=draw.uniform(0, 0.5))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)


@pytest.mark.parametrize("engine", ["local", "daft"])
def test_the_process_of_a_run_is_killed(
    engine: Any,  # noqa: ANN401 - a parameter
    source: Path,
    servers: ServerPair,
    finished: Finished,
    tmp_path: Path,
) -> None:
    draw = random.Random(1)
    out = tmp_path / "out"
    for _ in range(KILLS):
        kill_driver([sys.executable, "-c", DRIVER, str(source), str(out), engine, "", *servers.urls], draw)

    generate_dataset(source, out, servers=servers.urls, engine=engine)

    assert len(finished(out)) == ROWS
    assert servers.generated <= ROWS + KILLS * WINDOW


def test_the_driver_of_a_run_on_ray_is_killed(
    source: Path, servers: ServerPair, finished: Finished, tmp_path: Path, ray_address: str
) -> None:
    out = tmp_path / "out"
    kill_driver(
        [sys.executable, "-c", DRIVER, str(source), str(out), "ray", ray_address, *servers.urls],
        random.Random(2),
    )

    generate_dataset(source, out, servers=servers.urls, engine="ray")

    assert len(finished(out)) == ROWS
    assert servers.generated <= ROWS + WINDOW


def node_generators() -> list[int]:
    """The processes that talk to the servers, one on each node of Ray."""
    names = ray.util.list_named_actors()
    actors = [ray.get_actor(name) for name in names if name.startswith("vllm-image-")]

    def own(_: object) -> int:
        return os.getpid()

    return ray.get([actor.__ray_call__.remote(own) for actor in actors], timeout=60)


def workers() -> list[int]:
    """The processes of Ray Data that pass batches on."""
    processes = psutil.Process().children(recursive=True)
    return [each.pid for each in processes if any("MapWorker" in part for part in each.cmdline())]


@pytest.mark.parametrize("find", [node_generators, workers])
def test_a_process_of_ray_is_killed(
    find: Callable[[], list[int]], source: Path, servers: ServerPair, finished: Finished, ray_address: str
) -> None:
    assert ray_address
    out = source.parent / "out"
    killed: list[int] = []

    def kill(progress: DatasetProgress) -> None:
        if progress.ended_count and not killed:
            killed.extend(find())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    generate_dataset(source, out, servers=servers.urls, engine="ray", max_in_flight=WINDOW, on_progress=kill)

    assert killed
    assert len(finished(out)) == ROWS
    assert servers.generated <= ROWS + 2 * WINDOW
