"""Measure the CPU time a tool call adds to the studio's own, and the MCP server's memory when idle.

Run it with `uvx nox -s bench -- mcp`, on Linux, because it reads `/proc`. One simulated server on loopback
generates the images for both sides. A process with a `Studio` generates images one after another, as batches
of one; the MCP server generates as many through `generate_image` without a preview. Each is a process of its
own, and their CPU times are compared round by round. Since a process may stay a little slower than another
one with the same program, this is repeated with several pairs of processes; the result is the median of the
pairs' medians. Memory is the resident memory after `initialize` and after `tools/list`, compared with a bare
`MCPServer`. Exits with 1 if a median misses its goal.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_omni_client.simulator.http.serving import serve_in_thread

GOAL_MS = 3.0
"""CPU time of one tool call in addition to the studio's own."""
GOAL_RATIO = 1.15
"""Resident memory relative to the bare server's."""
CALLS = 20
WARM_UP = 10
ROUNDS = 9
PAIRS = 7
SIDE = 256

BARE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
server.run("stdio")
"""

STUDIO = """
import asyncio, sys, time
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
url, folder, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def main():
    async with Studio(url, output_dir=folder) as studio:
        for line in iter(sys.stdin.readline, ""):
            began = time.process_time()
            for _ in range(int(line)):
                batch = studio.batch([ImageRequest(prompt="a red fox", width=side, height=side)])
                async for outcome in batch:
                    pass
            print(time.process_time() - began, flush=True)
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Milliseconds of CPU for one image, medians over the rounds.

    Attributes:
        studio: The studio's own.
        server: By `generate_image`.
        beyond: What the second has more in the same round.
    """

    studio: float
    server: float
    beyond: float


class Host:
    """A minimal MCP host: writes lines and waits for the answers."""

    def __init__(self, *command: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")},
        )
        self._id = 0
        info = {"name": "benchmark", "version": "1"}
        self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Send a request and return its result."""
        self._id += 1
        self._write({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self._id:
                return message["result"]
        raise SystemExit("The server has ended.")

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool and return its result, which must not be an error."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        return result

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time the server has used since its start, over all its threads."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def resident_mb(self) -> float:
        """Return the server's resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def close(self) -> None:
        """Stop the server."""
        self.process.communicate(timeout=60)

    def _write(self, message: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


@contextmanager
def hosted(*command: str, folder: Path) -> Generator[Host]:
    """Run a server for the duration of a block."""
    host = Host(*command, folder=folder)
    try:
        yield host
    finally:
        host.close()


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds per measurement ({ROUNDS})")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls per round ({CALLS})")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"pairs of processes ({PAIRS})")
    given = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        raise SystemExit("This benchmark reads /proc, which only Linux has.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-")))
        url = stack.enter_context(serve_in_thread())
        met = [
            _print_cpu(
                [
                    _cpu(url, folder / str(number), rounds=given.rounds, calls=given.calls)
                    for number in range(given.pairs)
                ]
            ),
            _print_sdk(folder, calls=given.rounds * given.calls),
            _print_memory("after initialize", url, folder, given.rounds, lambda _: None),
            _print_memory("after tools/list", url, folder, given.rounds, lambda host: host.ask("tools/list")),
        ]
    return 0 if all(met) else 1


def _cpu(url: str, folder: Path, *, rounds: int, calls: int) -> Cpu:
    """Of one pair of processes."""
    studio: list[float] = []
    server: list[float] = []
    folder.mkdir()
    with (
        _studio(url, folder / "studio") as made,
        hosted(*_ours(url, folder / "server"), folder=folder) as host,
    ):
        made(WARM_UP)
        _called(host, WARM_UP)
        for _ in range(rounds):
            studio.append(1000 * made(calls) / calls)
            server.append(1000 * _called(host, calls) / calls)
    return Cpu(
        studio=statistics.median(studio),
        server=statistics.median(server),
        beyond=statistics.median(theirs - own for own, theirs in zip(studio, server, strict=True)),
    )


@contextmanager
def _studio(url: str, folder: Path) -> Generator[Callable[[int], float]]:
    command = [sys.executable, "-c", STUDIO, url, str(folder), str(SIDE)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder.parent
    ) as process:

        def made(count: int) -> float:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield made
        process.communicate(timeout=60)


def _called(host: Host, count: int) -> float:
    began = host.cpu_seconds
    for _ in range(count):
        host.call("generate_image", prompt="a red fox", width=SIDE, height=SIDE)
    return host.cpu_seconds - began


def _ours(url: str, folder: Path) -> tuple[str, ...]:
    options = ("--vllm-url", url, "--output-dir", str(folder), "--preview", "none")
    return (sys.executable, "-m", "vllm_image_mcp.server", *options)


def _print_cpu(pairs: Sequence[Cpu]) -> bool:
    beyond = statistics.median(pair.beyond for pair in pairs)
    print(f"CPU per image of {SIDE}x{SIDE}, milliseconds, median of {len(pairs)} pairs of processes:")
    print(f"  the studio's own        {statistics.median(pair.studio for pair in pairs):>8.2f}")
    print(f"  by generate_image       {statistics.median(pair.server for pair in pairs):>8.2f}")
    print(f"  the tool call's part    {beyond:>8.2f}  goal {GOAL_MS:g} {_word(met=beyond <= GOAL_MS)}")
    print(f"    of each pair          {' '.join(f'{pair.beyond:.2f}' for pair in pairs):>8}")
    return beyond <= GOAL_MS


def _print_sdk(folder: Path, *, calls: int) -> bool:
    """Measure the SDK's share with a tool that adds two numbers; it has no goal."""
    with hosted(sys.executable, "-c", BARE, folder=folder) as host:
        host.call("add", a=1, b=2)
        began = host.cpu_seconds
        for _ in range(calls):
            host.call("add", a=1, b=2)
        milliseconds = 1000 * (host.cpu_seconds - began) / calls
    print(f"  a bare server's call    {milliseconds:>8.2f}")
    return True


def _print_memory(when: str, url: str, folder: Path, rounds: int, then: Callable[[Host], object]) -> bool:
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        for command, found in (((sys.executable, "-c", BARE), bare), (_ours(url, folder / "idle"), ours)):
            with hosted(*command, folder=folder) as host:
                then(host)
                found.append(host.resident_mb)
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"Resident memory {when}, MB, median of {rounds} starts:")
    print(f"  a bare MCPServer        {statistics.median(bare):>8.1f}")
    print(f"  vllm-image-mcp          {statistics.median(ours):>8.1f}")
    print(f"  ratio                   {ratio:>8.2f}  goal {GOAL_RATIO:g} {_word(met=ratio <= GOAL_RATIO)}")
    return ratio <= GOAL_RATIO


def _word(*, met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
