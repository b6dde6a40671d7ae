"""Measure the client's CPU time, memory, bytes on the wire and import time against other clients.

Run it with `uvx nox -s bench -- client`. A stand-in server in its own process hands out ready images, and
each client runs in a process and an environment of its own, so that only that client is measured, with what
`pip install` brings. Every client brings an image from the request to a file; the pixels are compared before
anything is timed. Rounds are interleaved, CPU time counts, and ratios are taken within a round. Exits with 1
if a goal is missed.
"""

import argparse
import asyncio
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from _peers import Competitor, Round, competitors, interleave, interpreter
from _server import GRAIN, picture, stand_in

GOALS = {1024: 0.38, 2048: 0.5}
"""Maximum ratio of our CPU time to the openai SDK's, by image side."""
MANY_GOAL = 1.15
"""Maximum ratio of our CPU time per call with many calls at once to that with a few."""
WIRE_GOAL = 0.5
MEMORY_GOAL_MIB = 12.0
IMPORT_GOAL = 1 / 3
ROUNDS = 15
PICTURES_A_ROUND = 8
CALLS_A_ROUND = 256
AT_ONCE, MANY_AT_ONCE = 4, 64
SMALL, LARGE = 256, 2048
COUNTS = (20, 200, 2000)
GRAINS = {"no grain": 0, "little": GRAIN, "film": 4, "coarse": 6, "noise": 80}
COMPARED_LEVELS = (0, 1, 2, 4, 6, 9)
"""PNG levels whose cost for a server is printed."""
OURS, BASELINE = "client, into=", "openai SDK"
PEERS = (BASELINE, "httpx .json()", "client, in memory", OURS, "raw socket")
_STATUS = Path("/proc/self/status")


async def grow(url: str, count: int) -> None:
    """Fetch `count` images of 2048x2048, 4 at a time; print by how many MiB the peak memory grew."""
    from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest  # noqa: PLC0415  # the child alone

    client = AsyncOmniClient(url)
    request = ImageGenerationRequest(prompt="a fox", size=f"{LARGE}x{LARGE}", seed=1)
    await client.health_check()
    _reset_peak()
    base = _peak_mib()
    numbers = iter(range(count))
    with tempfile.TemporaryDirectory() as folder:

        async def work(worker: int) -> None:
            for number in numbers:
                path = Path(folder, f"{worker}-{number}.png")
                await client.generate_image(request, into=path)
                path.unlink()

        await asyncio.gather(*(work(worker) for worker in range(AT_ONCE)))
    print(_peak_mib() - base)


def _reset_peak() -> None:
    """Reset the peak; a process inherits that of its parent."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def wire_bytes(url: str, folder: Path) -> Mapping[str, int]:
    """Return how many body bytes an honest server sends for a plain call of each client, 1024x1024."""
    sent: dict[str, int] = {}
    one = Round(side=1024, count=1, at_once=1)
    with competitors(PEERS, url, folder) as peers:
        for name, peer in peers.items():
            peer.run(one)
            before = _sent(url)
            peer.run(one)
            sent[name] = _sent(url) - before
    return sent


def _sent(url: str) -> int:
    """Ask the stand-in server how many image bytes it has sent."""
    with urllib.request.urlopen(f"{url}/sent") as reply:  # noqa: S310  # our own server
        return int(reply.read().strip(b"{}"))


def import_ms(python: str, statement: str, rounds: int) -> float:
    """Return the CPU milliseconds that an import adds to a bare interpreter, the least of some rounds."""
    return _child_ms(python, statement, rounds) - _child_ms(python, "pass", rounds)


def _child_ms(python: str, statement: str, rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([python, "-c", statement], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times) * 1000


def main() -> int:
    """Measure, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--grow", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        asyncio.run(grow(options.grow[0], int(options.grow[1])))
        return 0
    return 0 if all(_measure(options.rounds)) else 1


def _measure(rounds: int) -> list[bool]:
    with stand_in() as urls, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with competitors(PEERS, urls.in_json, folder / "json") as peers:
            met = [_cpu_table(peers, side, rounds) for side in GOALS]
            met.append(_many_table(peers[OURS], rounds))
        _file_mode_table(urls.fixed, folder / "files", rounds)
        met.append(_wire_table(urls.honest, folder / "wire"))
        _levels_table()
        met.append(_memory_table(urls.fixed))
    return [*met, _import_table(rounds)]


def _cpu_table(peers: Mapping[str, Competitor], side: int, rounds: int) -> bool:
    print(f"\nCPU per image of {side}x{side}, the same JSON for all, {AT_ONCE} at a time")
    work = Round(side=side, count=PICTURES_A_ROUND, at_once=AT_ONCE)
    names = {name: peer for name, peer in peers.items() if name != "raw socket"}
    ratio = _print_ratios(interleave(names, work, rounds=rounds))
    return _verdict(ratio, GOALS[side], "of the openai SDK's")


def _file_mode_table(url: str, folder: Path, rounds: int) -> None:
    """Print the CPU against a server that also sends an image's own bytes (`response_format: "file"`)."""
    print(f"\nCPU per image of 1024x1024, from a server with file mode, one at a time, {rounds} rounds")
    with competitors(PEERS, url, folder) as peers:
        _print_ratios(interleave(peers, Round(side=1024, count=PICTURES_A_ROUND, at_once=1), rounds=rounds))


def _print_ratios(spent: Mapping[str, Sequence[float]]) -> float:
    """Print each client's milliseconds and ratios; return the median of ours."""
    medians: dict[str, float] = {}
    for name, times in spent.items():
        ratios = [a / b for a, b in zip(times, spent[BASELINE], strict=True)]
        medians[name] = statistics.median(ratios)
        low, *_, high = statistics.quantiles(ratios, n=10)
        print(
            f"  {name:18} {statistics.median(times):7.2f} ms   {medians[name]:5.2f} of the openai SDK's"
            f" ({low:.2f} to {high:.2f})"
        )
    return medians[OURS]


def _many_table(client: Competitor, rounds: int) -> bool:
    print(f"\nCPU per call, {SMALL}x{SMALL}, by how many are in progress at once")
    spent: dict[int, list[float]] = {AT_ONCE: [], MANY_AT_ONCE: []}
    for _ in range(rounds):
        for at_once, times in spent.items():
            work = Round(side=SMALL, count=CALLS_A_ROUND, at_once=at_once)
            times.append(client.run(work).milliseconds)
    for at_once, times in spent.items():
        print(f"  {at_once:3} at once {statistics.median(times):7.2f} ms")
    ratios = [many / few for few, many in zip(*spent.values(), strict=True)]
    return _verdict(statistics.median(ratios), MANY_GOAL, f"of that with {AT_ONCE} at once")


def _wire_table(url: str, folder: Path) -> bool:
    sizes = wire_bytes(url, folder)
    print("\nBytes of body for one PNG of 1024x1024, plain calls of each")
    for name, size in sizes.items():
        print(f"  {name:18} {size:9,}")
    return _verdict(sizes[OURS] / sizes[BASELINE], WIRE_GOAL, "of the openai SDK's")


def _levels_table() -> None:
    """Print what a PNG level saves on the wire and costs the server; Pillow is the server's own encoder."""
    print("\nBytes of one PNG of 1024x1024 by level, relative to base64 at level 0, and CPU to encode it")
    for name, grain in GRAINS.items():
        plain = len(picture(1024, 0, grain)) * 4 / 3
        cells: list[str] = []
        for level in COMPARED_LEVELS:
            size, milliseconds = _encoded(grain, level)
            cells.append(f"{level}: {size / plain:.2f} {milliseconds:4.0f} ms")
        print(f"  {name:9}", "   ".join(cells))


def _encoded(grain: int, level: int) -> tuple[int, float]:
    from PIL import Image  # noqa: PLC0415  # as in `picture`

    with Image.open(io.BytesIO(picture(1024, 0, grain))) as image:
        image.load()
        times: list[float] = []
        buffer = io.BytesIO()
        for _ in range(3):
            buffer = io.BytesIO()
            began = time.process_time()
            image.save(buffer, "PNG", compress_level=level)
            times.append(time.process_time() - began)
    return len(buffer.getvalue()), min(times) * 1000


def _memory_table(url: str) -> bool:
    print(f"\nGrowth of peak memory, images of 2048x2048, {AT_ONCE} at a time")
    grown: list[float] = []
    for count in COUNTS:
        command = [interpreter("vllm-omni-client"), __file__, "--grow", url, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown.append(float(done.stdout))
        print(f"  {count:5} images {grown[-1]:6.1f} MiB")
    even = max(grown) - min(grown)
    print(f"  largest and smallest differ by {even:.1f} MiB")
    return _verdict(max(grown), MEMORY_GOAL_MIB, "MiB")


def _import_table(rounds: int) -> bool:
    ours = interpreter("vllm-omni-client")
    statements = {
        "openai": (interpreter("openai"), "import openai"),
        "vllm_omni_client": (ours, "import vllm_omni_client"),
        "its client": (ours, "from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest"),
    }
    print("\nCPU of an import, in addition to a bare interpreter")
    spent = {name: import_ms(*statement, rounds) for name, statement in statements.items()}
    for name, milliseconds in spent.items():
        print(f"  {name:18} {milliseconds:7.1f} ms")
    print(f"  its client: {spent['its client'] / spent['openai']:.2f} of openai's")
    return _verdict(spent["vllm_omni_client"] / spent["openai"], IMPORT_GOAL, "of openai's")


def _verdict(value: float, goal: float, unit: str) -> bool:
    print(f"  {'met' if value <= goal else 'MISSED'}: {value:.2f} {unit}, at most {goal:.2f}")
    return value <= goal


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    sys.exit(main())
