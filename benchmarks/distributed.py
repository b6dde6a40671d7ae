"""Measure the CPU that Ray and Daft add to a row of a dataset, and what they cost to start.

Run it with `uvx nox -s bench -- distributed`; `--rows 2000 200` for fewer rows, `--engines daft` for one of
them. Two runs of different sizes are generated with each engine, over a server in a process of its own that
answers at once. What counts is the CPU of the engine and all its processes, without the server's. A row's
cost is the slope between the two runs; what they share is the fixed cost of a run. A first row is generated
before, and its CPU is the cost of the start. Ray's own services use CPU while time passes, even without
work; that is measured before, and shown apart. Exits with 1 if a goal is missed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import psutil

GOAL_MILLISECONDS = 2.0
"""CPU per row beyond that of the engine "local"."""
GOAL_GROWTH = 1.25
"""Memory after the larger run, divided by that after the smaller one."""
_SAMPLE_SECONDS = 0.5
_IDLE_SECONDS = 10.0
_SERVICES = ("gcs_server", "raylet", "ray/dashboard", "log_monitor", "runtime_env")
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

engine, out, url = sys.argv[1:]
if engine == "ray":
    import ray
    ray.init(num_cpus=2, object_store_memory=128 * 2**20, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
while line := sys.stdin.readline():
    count = int(line)
    given = [{"prompt": f"fox {number}", "width": 64, "height": 64} for number in range(count)]
    run = generate_dataset(given, f"{out}/{count}", servers=url, engine=engine, max_in_flight=64)
    assert run.progress.done == count, run.progress
    print(count, flush=True)
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


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a run have used.

    Attributes:
        at: When, in seconds.
        cpu: CPU time of the engine, in seconds, with all of its processes.
        services: The part of Ray's own services in it, in seconds.
        memory: Memory of the largest process, in MiB.
    """

    at: float
    cpu: float
    services: float
    memory: float


class CpuMeter:
    """CPU time of a process and all below it, including those that end, but for their last moment.

    Args:
        process: The process.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._seconds: dict[tuple[int, float], float] = {}
        self._services: set[tuple[int, float]] = set()

    def read(self) -> Usage:
        """Return what was used so far."""
        memory = 0
        for each in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                key = (each.pid, each.create_time())
                if key not in self._seconds and is_service(each):
                    self._services.add(key)
                times = each.cpu_times()
                self._seconds[key] = times.user + times.system
                if key not in self._services:
                    memory = max(memory, each.memory_info().rss)
        services = sum(self._seconds[key] for key in self._services)
        return Usage(time.monotonic(), sum(self._seconds.values()), services, memory / 2**20)

    def read_until_line(self, lines: IO[str]) -> str:
        """Read the CPU time every half second until a line comes; return the line."""
        with ThreadPoolExecutor(1) as pool:
            line = pool.submit(lines.readline)
            while wait([line], timeout=_SAMPLE_SECONDS).not_done:
                self.read()
            return line.result().strip()


def is_service(process: psutil.Process) -> bool:
    """Whether a process is one of Ray's own, which runs no rows."""
    command = " ".join(process.cmdline()[:3])
    return any(name in command for name in _SERVICES)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an engine costs.

    Attributes:
        start: CPU of the start and a first row, in seconds.
        run: CPU that each further run costs, whatever its size, in seconds.
        row: CPU per row, in milliseconds, without what Ray's services use while they are idle.
        idle: What they use, in milliseconds for each row.
        memory: Memory of the largest process after the smaller and the larger run, in MiB.
    """

    start: float
    run: float
    row: float
    idle: float
    memory: tuple[float, float]

    def __str__(self) -> str:
        idle = f" and {self.idle:.2f} ms of Ray's idle services" if self.idle else ""
        return (
            f"start {self.start:.1f} s of CPU, a run {self.run:.1f} s, a row {self.row:.2f} ms{idle};"
            f" memory {self.memory[0]:.0f} and then {self.memory[1]:.0f} MiB"
        )


def measure(engine: str, fewer: int, rows: int) -> Cost:
    """Return what an engine costs, by runs of two sizes."""
    with server() as url, tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", RUN, engine, out, url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdin
            assert run.stdout
            meter = CpuMeter(psutil.Process(run.pid))
            used: list[Usage] = []
            for count in (1, fewer, rows):
                run.stdin.write(f"{count}\n")
                run.stdin.flush()
                assert meter.read_until_line(run.stdout) == str(count)
                used.append(meter.read())
                if count == 1:
                    time.sleep(_IDLE_SECONDS)
                    used.append(meter.read())
            run.stdin.close()
            run.wait(120)
    first, began, small, large = used
    idle = (began.services - first.services) / (began.at - first.at)
    more = rows - fewer
    waited = (large.at - small.at) - (small.at - began.at)
    slope = ((large.cpu - small.cpu) - (small.cpu - began.cpu)) / more
    at_rest = idle * waited / more
    return Cost(
        start=first.cpu,
        run=small.cpu - began.cpu - slope * fewer,
        row=1000 * (slope - at_rest),
        idle=1000 * at_rest,
        memory=(small.memory, large.memory),
    )


def main() -> int:
    """Print the figures; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs=2, default=(2_000, 20_000), metavar=("FEWER", "MORE"))
    parser.add_argument("--engines", nargs="+", default=["daft", "ray"])
    given = parser.parse_args()
    fewer, rows = sorted(given.rows)
    local = measure("local", fewer, rows)
    print(f"local: {local}", flush=True)
    missed = 0
    for engine in given.engines:
        cost = measure(engine, fewer, rows)
        beyond = cost.row - local.row
        growth = cost.memory[1] / cost.memory[0]
        is_met = beyond <= GOAL_MILLISECONDS and growth <= GOAL_GROWTH
        missed += not is_met
        print(
            f"{engine}: {cost}; {beyond:+.2f} ms beyond local   goal: at most {GOAL_MILLISECONDS:g} ms,"
            f" and {GOAL_GROWTH:g} times the memory   {'met' if is_met else 'MISSED'}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
