"""Measure the time from starting the MCP server to its answer to `initialize`, against a bare `MCPServer`.

Run it with `uvx nox -s bench -- startup`. The servers are started in turn in one run, so that a busy machine
slows all of them; a first start of each only fills the bytecode caches. The ratio is the median over the
rounds of a server's time to the bare server's in the same round. Exits with 1 if a ratio is above the goal,
and then prints the most expensive imports.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GOAL = 1.25
"""The highest acceptable ratio."""
ROUNDS = 25
LEAST_ROUNDS = 15
DEADLINE_SECONDS = 60.0
MOST_IMPORTS = 12

BARE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
server.run("stdio")
"""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "startup-benchmark", "version": "1"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server to start: its name in the table, and its command."""

    name: str
    command: tuple[str, ...]


BASELINE = Server(name="bare MCPServer, one tool", command=(sys.executable, "-c", BARE))


def main() -> int:
    """Measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {LEAST_ROUNDS} ({ROUNDS})")
    rounds = max(LEAST_ROUNDS, parser.parse_args().rounds)
    ours = _our_servers()
    with _quiet_folder() as folder:
        seconds = _measured((BASELINE, *ours), rounds=rounds, folder=folder)
        _print_table(seconds, rounds=rounds)
        missed = [server for server in ours if _ratio(seconds, server) > GOAL]
        for server in missed:
            _print_imports(server, folder=folder)
    return 1 if missed else 0


def _our_servers() -> tuple[Server, ...]:
    script = shutil.which("vllm-image-mcp", path=str(Path(sys.executable).parent))
    if script is None:
        raise SystemExit("vllm-image-mcp is not installed beside this Python.")
    return (
        Server(
            name="python -m vllm_image_mcp.server", command=(sys.executable, "-m", "vllm_image_mcp.server")
        ),
        Server(name="vllm-image-mcp --demo", command=(script, "--demo")),
    )


@contextmanager
def _quiet_folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        yield Path(folder)


def _measured(servers: Sequence[Server], *, rounds: int, folder: Path) -> Mapping[Server, Sequence[float]]:
    """Return each server's seconds in each round; the order in a round is shuffled, equally in every run."""
    shuffle = random.Random(0).shuffle
    seconds: dict[Server, list[float]] = {server: [] for server in servers}
    for server in servers:
        _start(server, folder=folder)
    for _ in range(rounds):
        order = list(servers)
        shuffle(order)
        for server in order:
            seconds[server].append(_start(server, folder=folder))
    return seconds


def _start(server: Server, *, folder: Path) -> float:
    """Start a server, initialize it, check its answer, stop it, and return the seconds until the answer."""
    began = time.perf_counter()
    process = subprocess.Popen(
        server.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=_environment(),
    )
    with _killed_after_deadline(process):
        answer = _asked(process)
        seconds = time.perf_counter() - began
        process.communicate()
    _check(server, answer)
    return seconds


def _asked(process: subprocess.Popen[bytes]) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    return process.stdout.readline()


def _check(server: Server, answer: bytes) -> None:
    if not answer:
        raise SystemExit(f"{server.name} gave no answer within {DEADLINE_SECONDS:.0f} s, or exited.")
    if json.loads(answer)["result"]["protocolVersion"] != "2025-11-25":
        raise SystemExit(f"{server.name} did not initialize: {answer[:500]!r}")


@contextmanager
def _killed_after_deadline(process: subprocess.Popen[bytes]) -> Generator[None]:
    timer = threading.Timer(DEADLINE_SECONDS, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _environment() -> dict[str, str]:
    """Return the environment without variables that change settings or prevent bytecode caching."""
    hidden = ("VLLM_IMAGE_", "PYTHONDONTWRITEBYTECODE", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


def _ratio(seconds: Mapping[Server, Sequence[float]], server: Server) -> float:
    return statistics.median(
        ours / bare for ours, bare in zip(seconds[server], seconds[BASELINE], strict=True)
    )


def _print_table(seconds: Mapping[Server, Sequence[float]], *, rounds: int) -> None:
    print(f"Spawn to the answer to initialize, {rounds} rounds, milliseconds:")
    print(f"{'':<32} {'median':>7} {'quartiles':>13} {'range':>13} {'ratio':>6}  goal")
    for server, measured in seconds.items():
        low, median, high = (round(1000 * each) for each in statistics.quantiles(measured))
        least, most = round(1000 * min(measured)), round(1000 * max(measured))
        ratio = _ratio(seconds, server)
        goal = "" if server == BASELINE else f"{GOAL:.2f} {'met' if ratio <= GOAL else 'MISSED'}"
        spread = f"{f'{low}-{high}':>13} {f'{least}-{most}':>13}"
        print(f"{server.name:<32} {median:>7} {spread} {ratio:>6.2f}  {goal}".rstrip())


def _print_imports(server: Server, *, folder: Path) -> None:
    """Print what the server imports and the bare one does not, summed by top-level package."""
    bare = {name for name, _ in _imports(BASELINE, folder=folder)}
    cost: Counter[str] = Counter()
    for name, microseconds in _imports(server, folder=folder):
        if name not in bare:
            cost[_group(name)] += microseconds
    print(f"\nImports of {server.name} in addition to the bare server's, own milliseconds:")
    for group, microseconds in cost.most_common(MOST_IMPORTS):
        print(f"  {microseconds / 1000:>7.1f}  {group}")


def _group(module: str) -> str:
    """Group our own packages by module, others by package."""
    package = module.partition(".")[0]
    return module if package.startswith(("vllm_image", "vllm_omni")) else package


def _imports(server: Server, *, folder: Path) -> list[tuple[str, int]]:
    """Return each module that a server imports before its input ends, with its own microseconds."""
    run = subprocess.run(
        server.command,
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
