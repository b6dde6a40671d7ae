"""Measure what starting costs: shell commands, the MCP server, its memory, and the first image of a process.

Run it with `uvx nox -s bench -- startup`, on Linux. Everything is started in turn in one run, so that a busy
machine slows all of it; a first start of each only fills the bytecode caches. CPU is that of the process and
its threads, user and system. A ratio is the
median over the rounds of a command's CPU to the baseline's in the same round, shown with its quartiles. Exits
with 1 if a figure is above its goal, and then prints the most expensive imports of the MCP server.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vllm_omni_client.simulator.http.serving import serve_in_thread

T = TypeVar("T")

ROUNDS = 15
LEAST_ROUNDS = 5
DEADLINE_SECONDS = 60.0
IDLE_SECONDS = 3.0
"""A server that has used no CPU for so long has loaded what the first call needs."""
IMAGES = 4
MOST_IMPORTS = 12
GOAL_HELP, GOAL_TABLE = 3.0, 6.0
"""CPU of a shell command relative to `python -c "import click"`."""
GOAL_MCP = 1.10
"""CPU to the answer to `initialize`, and memory then, relative to a bare `MCPServer`."""
GOAL_FIRST_MS = 30.0
"""CPU of a process's first image in addition to the second's."""

BARE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
server.run("stdio")
"""
SCRIPT = str(Path(sys.executable).with_name("vllm-image-mcp"))
CLICK = (sys.executable, "-c", "import click")
MCP_BARE = (sys.executable, "-c", BARE)

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "startup-benchmark", "version": "1"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A command's measured values, with the baseline's in the same rounds, and the greatest ratio allowed."""

    name: str
    unit: str
    values: Sequence[float]
    baseline: Sequence[float]
    goal: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the median ratio is at most the goal."""
        return self.goal is None or self._quartiles[1] <= self.goal

    @property
    def _quartiles(self) -> Sequence[float]:
        return statistics.quantiles(
            [ours / bare for ours, bare in zip(self.values, self.baseline, strict=True)], n=4
        )

    def __str__(self) -> str:
        low, ratio, high = self._quartiles
        goal = "" if self.goal is None else f"goal {self.goal:.2f} {'met' if self.is_met else 'MISSED'}"
        median = f"{statistics.median(self.values):8.1f} {self.unit}"
        return f"  {self.name:<34} {median}   ratio {ratio:5.2f} ({low:.2f}-{high:.2f})   {goal}".rstrip()


class Host:
    """A host that talks to an MCP server of its own process over pipes."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(),
        )
        self._number = 0

    def ask(self, method: str, **params: object) -> Mapping[str, Any]:
        """Send a request, and return its result."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both are pipes")
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while line := self._process.stdout.readline():
            message: Mapping[str, Any] = json.loads(line)
            if message.get("id") == self._number:
                return message["result"]
        raise SystemExit(f"{self._process.args!r} gave no answer to {method}.")

    def initialize(self) -> None:
        """Initialize the server."""
        self.ask("initialize", **INITIALIZE)

    def _send(self, message: Mapping[str, object]) -> None:
        if self._process.stdin is None:
            raise AssertionError("it is a pipe")
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def milliseconds(self) -> float:
        """Milliseconds since it was started."""
        return 1000 * (time.perf_counter() - self._began)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server so far: its clock as in clock_getcpuclockid(3)."""
        return 1000 * time.clock_gettime((~self._process.pid << 3) | 2)

    @property
    def resident_mb(self) -> float:
        """Megabytes of the server in memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def wait_until_idle(self) -> None:
        """Wait until the server has used next to no CPU for a while."""
        before = -math.inf
        while (now := self.cpu_ms) - before > 1:
            before = now
            time.sleep(IDLE_SECONDS)

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Measure, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {LEAST_ROUNDS} ({ROUNDS})")
    rounds = max(LEAST_ROUNDS, parser.parse_args().rounds)
    with tempfile.TemporaryDirectory(prefix="startup-") as name, serve_in_thread() as url:
        folder = Path(name)
        met = _print(
            f'CPU of shell commands, {rounds} rounds, against python -c "import click"',
            shell_figures(rounds, folder),
        )
        starts = _print(
            f"MCP over stdio, {rounds} rounds, against a bare MCPServer with one tool",
            mcp_figures(rounds, folder),
        )
        met &= starts & first_image_met(url, folder)
        if not starts:
            _print_imports(folder)
    return 0 if met else 1


def _print(title: str, figures: Sequence[Figure]) -> bool:
    print(f"{title}; median, ratio with quartiles:")
    for figure in figures:
        print(figure)
    return all(figure.is_met for figure in figures)


def shell_figures(rounds: int, folder: Path) -> list[Figure]:
    """Measure the CPU of commands that need no server."""
    here = ("--output-dir", str(folder / "none"))
    commands = {
        "--version": ((SCRIPT, "--version"), GOAL_HELP),
        "--help": ((SCRIPT, "--help"), GOAL_HELP),
        "generate --help": ((SCRIPT, "generate", "--help"), GOAL_HELP),
        "models": ((SCRIPT, "models"), GOAL_TABLE),
        "batches": ((SCRIPT, "batches", *here), GOAL_TABLE),
        "find fox": ((SCRIPT, "find", "fox", *here), GOAL_TABLE),
    }
    runs: dict[str, Callable[[], float]] = {
        name: lambda command=command: _cpu_of(command, folder) for name, (command, _) in commands.items()
    }
    measured = _in_turn({"": lambda: _cpu_of(CLICK, folder), **runs}, rounds)
    return [
        Figure(name=name, unit="ms", values=measured[name], baseline=measured[""], goal=goal)
        for name, (_, goal) in commands.items()
    ]


def mcp_figures(rounds: int, folder: Path) -> list[Figure]:
    """Measure the start of the MCP server, and its memory."""
    servers = {"": MCP_BARE, "vllm-image-mcp": (SCRIPT,), "vllm-image-mcp --demo": (SCRIPT, "--demo")}
    runs: dict[str, Callable[[], Sequence[float]]] = {
        name: lambda command=command: _start(command, folder) for name, command in servers.items()
    }
    measured = _in_turn(runs, rounds)
    units = {
        "spawn to initialize, CPU": ("ms", GOAL_MCP),
        "spawn to initialize, time": ("ms", GOAL_MCP),
        "memory after initialize": ("MB", GOAL_MCP),
        "spawn to tools/list, CPU": ("ms", None),
        "memory when it is idle": ("MB", None),
    }
    return [
        Figure(
            name=f"{name.removeprefix('vllm-image-mcp').strip() or 'server'}: {what}",
            unit=unit,
            values=[each[number] for each in measured[name]],
            baseline=[each[number] for each in measured[""]],
            goal=goal,
        )
        for name in servers
        if name
        for number, (what, (unit, goal)) in enumerate(units.items())
    ]


def _start(command: Sequence[str], folder: Path) -> tuple[float, ...]:
    host = Host(command, folder)
    with _killed_after_deadline(host):
        host.initialize()
        at_first = host.cpu_ms, host.milliseconds, host.resident_mb
        host.ask("tools/list")
        listed = host.cpu_ms
        host.wait_until_idle()
        return (*at_first, listed, host.resident_mb)


def first_image_met(url: str, folder: Path) -> bool:
    """Measure the CPU of the first images of some MCP servers that have loaded what they need."""
    firsts: list[float] = []
    for number in range(LEAST_ROUNDS):
        host = Host((SCRIPT, "--vllm-url", url, "--output-dir", str(folder / f"images-{number}")), folder)
        with _killed_after_deadline(host):
            host.initialize()
            host.wait_until_idle()
            spent = [_image_ms(host) for _ in range(IMAGES)]
        firsts.append(spent[0] - spent[1])
        print(f"CPU of the first images of a server: {', '.join(f'{each:.0f}' for each in spent)} ms")
    more = statistics.median(firsts)
    print(
        f"The first image costs {more:.0f} ms more than the second ({min(firsts):.0f}-{max(firsts):.0f}); "
        f"goal {GOAL_FIRST_MS:.0f} ms {'met' if more <= GOAL_FIRST_MS else 'MISSED'}"
    )
    return more <= GOAL_FIRST_MS


def _image_ms(host: Host) -> float:
    before = host.cpu_ms
    small = {"prompt": "a red fox", "width": 256, "height": 256, "num_inference_steps": 1}
    result = host.ask("tools/call", name="generate_image", arguments=small)
    if result.get("isError"):
        raise SystemExit(f"No image was generated: {result}")
    return host.cpu_ms - before


def _in_turn(runs: Mapping[str, Callable[[], T]], rounds: int) -> Mapping[str, Sequence[T]]:
    """Return what each run gives in each round; the order in a round is shuffled, equally in every run."""
    shuffle = random.Random(0).shuffle
    found: dict[str, list[T]] = {name: [] for name in runs}
    for each in runs.values():
        each()
    for _ in range(rounds):
        names = list(runs)
        shuffle(names)
        for name in names:
            found[name].append(runs[name]())
    return found


def _cpu_of(command: Sequence[str], folder: Path) -> float:
    """Run a command, and return its CPU milliseconds."""
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, cwd=folder, env=_environment())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}.")
    return 1000 * (usage.ru_utime + usage.ru_stime)


@contextmanager
def _killed_after_deadline(host: Host) -> Generator[None]:
    timer = threading.Timer(DEADLINE_SECONDS, host.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        host.close()


def _environment() -> dict[str, str]:
    """Return the environment without variables that change settings or prevent bytecode caching."""
    hidden = ("VLLM_IMAGE_", "PYTHONDONTWRITEBYTECODE", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


def _print_imports(folder: Path) -> None:
    """Print what the server imports and the bare one does not, summed by top-level package."""
    bare = {name for name, _ in _imports(MCP_BARE, folder)}
    cost: Counter[str] = Counter()
    for name, microseconds in _imports((SCRIPT,), folder):
        if name not in bare:
            cost[_group(name)] += microseconds
    print("\nImports of the server in addition to the bare server's, own milliseconds:")
    for group, microseconds in cost.most_common(MOST_IMPORTS):
        print(f"  {microseconds / 1000:>7.1f}  {group}")


def _group(module: str) -> str:
    """Group our own packages by module, others by package."""
    package = module.partition(".")[0]
    return module if package.startswith(("vllm_image", "vllm_omni")) else package


def _imports(command: Sequence[str], folder: Path) -> list[tuple[str, int]]:
    """Return each module that a server imports before its input ends, with its own microseconds."""
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env={**_environment(), "PYTHONPROFILEIMPORTTIME": "1"},
        timeout=DEADLINE_SECONDS,
        check=True,
        text=True,
    )
    lines = (line.removeprefix("import time:").split("|") for line in run.stderr.splitlines() if "|" in line)
    return [(name.strip(), int(own)) for own, _, name in lines if own.strip().isdigit()]


if __name__ == "__main__":
    sys.exit(main())
