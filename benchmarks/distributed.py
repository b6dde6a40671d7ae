"""Measure the CPU that Ray and Daft add to a row of a dataset, and what they cost to start.

Run it with `uvx nox -s bench -- distributed`; `--rows 2000` for fewer rows, `--engines daft` for one of them.
The same rows are generated with each engine over a server in a process of its own, which answers at once.
What counts is the CPU of the engine and all its processes, without the server's. A first row is generated
before, and its CPU is the cost of the start. Exits with 1 if a goal is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

GOAL_MILLISECONDS = 2.0
"""CPU per row beyond that of the engine "local"."""
_SAMPLE_SECONDS = 0.5
SERVER = """
from vllm_omni_client.simulator import Simulation, SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_simulation
import sys
with serve_simulation(Simulation(SimulatorSettings())) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
RUN = """
import sys
from vllm_image_core import generate_dataset

engine, out, url, rows = sys.argv[1:]

def generate(count):
    given = [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(count)]
    run = generate_dataset(given, out, servers=url, engine=engine, max_in_flight=64)
    assert run.progress.failed == 0
    print(run.progress.ended_count, flush=True)
    sys.stdin.readline()

if engine == "ray":
    import ray
    ray.init(num_cpus=2, object_store_memory=128 * 2**20, include_dashboard=False, log_to_driver=False)
generate(1)
generate(int(rows))
"""


@contextmanager
def server() -> Generator[str]:
    """A simulated server in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


class CpuMeter:
    """CPU time of a process and all below it, including those that end, but for their last moment.

    Args:
        process: The process.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._seconds: dict[tuple[int, float], float] = {}

    def read(self) -> float:
        """Return the CPU time so far, in seconds."""
        for each in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                self._seconds[each.pid, each.create_time()] = times.user + times.system
        return sum(self._seconds.values())

    def read_until_line(self, lines: IO[str]) -> str:
        """Read the CPU time every half second until a line comes; return the line."""
        with ThreadPoolExecutor(1) as pool:
            line = pool.submit(lines.readline)
            while wait([line], timeout=_SAMPLE_SECONDS).not_done:
                self.read()
            return line.result().strip()


def measure(engine: str, rows: int) -> tuple[float, float, float]:
    """Return the CPU of the start in seconds, that of a row in milliseconds, and the memory in MiB."""
    with server() as url, tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", RUN, engine, str(Path(out) / "out"), url, str(rows)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
        ) as run:
            assert run.stdin
            assert run.stdout
            process = psutil.Process(run.pid)
            meter = CpuMeter(process)
            assert meter.read_until_line(run.stdout) == "1"
            start = meter.read()
            run.stdin.write("\n")
            run.stdin.flush()
            assert meter.read_until_line(run.stdout) == str(rows)
            each = 1000 * (meter.read() - start) / (rows - 1)
            memory = process.memory_info().rss / 2**20
            run.stdin.write("\n")
            run.stdin.close()
            run.wait(120)
    return start, each, memory


def main() -> int:
    """Print the figures; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--engines", nargs="+", default=["daft", "ray"])
    given = parser.parse_args()
    start, local, memory = measure("local", given.rows)
    print(f"local: start {start:.1f} s of CPU, {local:.2f} ms per row, {memory:.0f} MiB")
    missed = 0
    for engine in given.engines:
        start, each, memory = measure(engine, given.rows)
        beyond = each - local
        missed += beyond > GOAL_MILLISECONDS
        print(
            f"{engine}: start {start:.1f} s of CPU, {each:.2f} ms per row, {memory:.0f} MiB;"
            f" {beyond:+.2f} ms beyond local   goal: at most {GOAL_MILLISECONDS:g} ms"
            f"   {'met' if beyond <= GOAL_MILLISECONDS else 'MISSED'}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
