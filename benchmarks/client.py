"""Measure the client's CPU time, memory, bytes on the wire and import time against other clients.

Run it with `uvx nox -s bench -- client`. A stand-in server in its own process hands out ready images, so
that only the client is measured. Every client brings an image from the request to a file; the files are
compared by hash before anything is timed. Rounds are interleaved, CPU time counts, and ratios are taken
within a round. Exits with 1 if a goal is missed.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIDES = (1024, 2048)
GOALS = {1024: 0.5, 2048: 0.6}
"""Maximum ratio of our CPU time to the openai SDK's, by image side."""
WIRE_GOAL = 0.5
MEMORY_GOAL_MIB = 12.0
IMPORT_GOAL = 1 / 3
ROUNDS = 15
PICTURES_A_ROUND = 8
AT_ONCE = 4
COUNTS = (20, 200, 2000)
LEVELS = (0, 1)
GRAIN = 2
GRAINS = {"no grain": 0, "little": GRAIN, "film": 4, "coarse": 6, "noise": 80}
COMPARED_LEVELS = (0, 1, 2, 4, 6, 9)
"""PNG levels whose cost for a server is printed."""
JSON_TYPE = "application/json"
_STATUS = Path("/proc/self/status")
FIELDS = ("prompt", "n", "size", "response_format", "seed", "output_format", "output_compression")

Fetch = Callable[[int, Path], Awaitable[None]]


def picture(side: int, level: int, grain: int = GRAIN) -> bytes:
    """Draw an image like a generated one: large shapes, soft edges, a little grain (of 255)."""
    from PIL import Image, ImageChops  # noqa: PLC0415  # the server's process alone needs it

    bands: list[Image.Image] = []
    for _ in range(3):
        band = Image.new("L", (side, side), 128)
        for cells, share in ((4, 0.5), (16, 0.35), (64, 0.25), (256, 0.12)):
            shapes = Image.effect_noise((cells, cells), 90).resize((side, side), Image.Resampling.BICUBIC)  # type: ignore[reportUnknownMemberType]  # Pillow's own stub
            band = Image.blend(band, shapes, share)
        bands.append(ImageChops.add(band, Image.effect_noise((side, side), grain), 1, -128))
    buffer = io.BytesIO()
    Image.merge("RGB", bands).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Prepared answers by (side, level): as JSON, and as the image itself."""

    in_json: Mapping[tuple[int, int], bytes]
    bare: Mapping[tuple[int, int], bytes]

    @classmethod
    def made(cls) -> "Answers":
        """Draw and encode each image once."""
        bare = {(side, level): picture(side, level) for side in SIDES for level in LEVELS}
        in_json = {
            key: json.dumps(
                {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode(), "url": None}]}
            ).encode()
            for key, data in bare.items()
        }
        return cls(in_json=in_json, bare=bare)

    def to(self, request: Mapping[str, object], *, honest: bool) -> tuple[str, bytes]:
        """Answer as vLLM-Omni 0.30.0 does; unless `honest`, at level 1 whatever compression is asked for."""
        side = int(str(request["size"]).partition("x")[0])
        compression = int(str(request.get("output_compression", 100)))
        key = (side, max(0, min(9, 9 - compression // 11)) if honest else 1)
        if request.get("response_format") == "file":
            return "image/png", self.bare[key]
        return JSON_TYPE, self.in_json[key]


def described() -> bytes:
    """Describe the stand-in server."""
    properties: dict[str, object] = {name: {} for name in FIELDS}
    properties["response_format"] = {"enum": ["b64_json", "url", "file"]}
    schema = {"properties": properties}
    post = {"post": {"requestBody": {"content": {JSON_TYPE: {"schema": schema}}}}}
    return json.dumps({"paths": {"/v1/images/generations": post}}).encode()


async def serve() -> None:
    """Serve on two ports, the second one honest about compression; print them, and run until killed."""
    answers = Answers.made()
    servers = [
        await asyncio.start_server(_talker(answers, honest=honest), "127.0.0.1", 0)
        for honest in (False, True)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _talker(
    answers: Answers, *, honest: bool
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                kind, body = JSON_TYPE, b'{"version":"0.30.0"}'
                if b"/openapi.json" in head:
                    body = described()
                elif b"/sent" in head:
                    body = b"{%d}" % sent
                elif head.startswith(b"POST"):
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    kind, body = answers.to(json.loads(await reader.readexactly(length)), honest=honest)
                    sent += len(body)
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return talk


@contextmanager
def stand_in() -> Generator[tuple[str, str]]:
    """The stand-in server: its two addresses."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            first, second = process.stdout.readline().split()
            yield f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"
        finally:
            process.kill()


def openai_peer(url: str) -> Fetch:
    """Use the openai SDK as its own documentation does."""
    from openai import AsyncOpenAI  # noqa: PLC0415  # only whoever runs this peer imports it

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")

    async def fetch(side: int, path: Path) -> None:
        reply = await client.images.generate(
            model="m",
            prompt="a fox",
            size=f"{side}x{side}",
            extra_body={"seed": 1},  # type: ignore[arg-type]  # sizes of its own
        )
        assert reply.data
        path.write_bytes(base64.b64decode(reply.data[0].b64_json or ""))

    return fetch


def httpx_peer(url: str) -> Fetch:
    """Use httpx directly, with `.json()`."""
    import httpx  # noqa: PLC0415  # likewise

    client = httpx.AsyncClient(base_url=url, timeout=60)

    async def fetch(side: int, path: Path) -> None:
        reply = await client.post(
            "/v1/images/generations", json={"prompt": "a fox", "size": f"{side}x{side}", "seed": 1}
        )
        path.write_bytes(base64.b64decode(reply.json()["data"][0]["b64_json"]))

    return fetch


def our_peer(url: str) -> Fetch:
    """Use this package."""
    from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest  # noqa: PLC0415  # likewise

    client = AsyncOmniClient(url)

    async def fetch(side: int, path: Path) -> None:
        request = ImageGenerationRequest(prompt="a fox", size=f"{side}x{side}", seed=1)
        await client.generate_image(request, into=path)

    return fetch


def raw_peer(url: str) -> Fetch:
    """Use a bare socket and one buffer: the lower bound."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    buffer = memoryview(bytearray(256 * 1024))

    async def fetch(side: int, path: Path) -> None:
        body = json.dumps({"size": f"{side}x{side}", "response_format": "file"}).encode()
        connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        got = connection.recv_into(buffer)
        head, _, start = bytes(buffer[:got]).partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(start)
        with path.open("wb", buffering=0) as file:  # the lower bound waits for nothing
            file.write(start)
            while left:
                got = connection.recv_into(buffer)
                file.write(buffer[:got])
                left -= got

    return fetch


PEERS: Mapping[str, Callable[[str], Fetch]] = {
    "openai SDK": openai_peer,
    "httpx .json()": httpx_peer,
    "vllm-omni-client": our_peer,
    "raw socket": raw_peer,
}
OURS, BASELINE = "vllm-omni-client", "openai SDK"


async def cpu_ratios(url: str, side: int, rounds: int, folder: Path) -> dict[str, tuple[float, list[float]]]:
    """Return each client's CPU milliseconds per image, and its ratios to the openai SDK by round."""
    fetches = {name: make(url) for name, make in PEERS.items()}
    hashes = {name: await _hash(fetch, side, folder / "hash") for name, fetch in fetches.items()}
    assert len(set(hashes.values())) == 1, f"the clients saved different files: {hashes}"
    spent: dict[str, list[float]] = {name: [] for name in fetches}
    for _ in range(rounds):
        for name in random.sample(sorted(fetches), len(fetches)):
            spent[name].append(await _cpu(fetches[name], side, folder))
    return {
        name: (statistics.median(times), [a / b for a, b in zip(times, spent[BASELINE], strict=True)])
        for name, times in spent.items()
    }


async def _hash(fetch: Fetch, side: int, path: Path) -> str:
    await fetch(side, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()  # nothing else runs meanwhile
    path.unlink()  # likewise
    return digest


async def _cpu(fetch: Fetch, side: int, folder: Path) -> float:
    paths = [folder / f"{number}.png" for number in range(PICTURES_A_ROUND)]
    began = time.process_time()
    for path in paths:
        await fetch(side, path)
    spent = time.process_time() - began
    for path in paths:
        path.unlink()
    return spent / PICTURES_A_ROUND * 1000


async def grow(url: str, count: int) -> None:
    """Fetch `count` images of 2048x2048, 4 at a time; print by how many MiB the peak memory grew."""
    fetch = our_peer(url)
    _reset_peak()
    base = _peak_mib()
    numbers = iter(range(count))
    with tempfile.TemporaryDirectory() as folder:

        async def work(worker: int) -> None:
            for number in numbers:
                path = Path(folder, f"{worker}-{number}.png")
                await fetch(SIDES[-1], path)
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


async def wire_bytes(url: str, folder: Path) -> dict[str, int]:
    """Return how many body bytes an honest server sends for a plain call of each client, 1024x1024."""
    sent: dict[str, int] = {}
    for name, make in PEERS.items():
        fetch = make(url)
        await fetch(1024, folder / "warm.png")
        (folder / "warm.png").unlink()
        before = await _sent(url)
        await fetch(1024, folder / "wire.png")
        sent[name] = await _sent(url) - before
        (folder / "wire.png").unlink()
    return sent


async def _sent(url: str) -> int:
    """Ask the stand-in server how many image bytes it has sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /sent HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    number = int((await reader.readuntil(b"}"))[1:-1])
    writer.close()
    return number


def import_ms(statement: str, rounds: int) -> float:
    """Return the CPU milliseconds that an import adds to a bare interpreter, the least of some rounds."""
    return _child_ms(statement, rounds) - _child_ms("pass", rounds)


def _child_ms(statement: str, rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times) * 1000


def main() -> int:
    """Measure, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--grow", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.grow:
        asyncio.run(grow(options.grow[0], int(options.grow[1])))
    else:
        return 0 if all(_measured(options.rounds)) else 1
    return 0


def _measured(rounds: int) -> list[bool]:
    with stand_in() as (fixed, honest), tempfile.TemporaryDirectory() as folder:
        met = [_cpu_table(fixed, side, rounds, Path(folder)) for side in SIDES]
        met.append(_wire_table(honest, Path(folder)))
        _levels_table()
        met.append(_memory_table(fixed))
    return [*met, _import_table(rounds)]


def _cpu_table(url: str, side: int, rounds: int, folder: Path) -> bool:
    print(f"\nCPU per image of {side}x{side}, request to file, {rounds} rounds of {PICTURES_A_ROUND}")
    table = asyncio.run(cpu_ratios(url, side, rounds, folder))
    for name, (milliseconds, ratios) in table.items():
        low, *_, high = statistics.quantiles(ratios, n=10)
        print(
            f"  {name:18} {milliseconds:7.2f} ms   {statistics.median(ratios):5.2f} of the openai SDK's"
            f" ({low:.2f} to {high:.2f})"
        )
    return _verdict(statistics.median(table[OURS][1]), GOALS[side], "of the openai SDK's")


def _wire_table(url: str, folder: Path) -> bool:
    sizes = asyncio.run(wire_bytes(url, folder))
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
        command = [sys.executable, __file__, "--grow", url, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown.append(float(done.stdout))
        print(f"  {count:5} images {grown[-1]:6.1f} MiB")
    even = max(grown) - min(grown)
    print(f"  largest and smallest differ by {even:.1f} MiB")
    return _verdict(max(grown), MEMORY_GOAL_MIB, "MiB")


def _import_table(rounds: int) -> bool:
    statements = {
        "openai": "import openai",
        "vllm_omni_client": "import vllm_omni_client",
        "its client": "from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest",
    }
    print("\nCPU of an import, in addition to a bare interpreter")
    spent = {name: import_ms(statement, rounds) for name, statement in statements.items()}
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
