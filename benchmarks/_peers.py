"""The programs to compare: each one takes images from the request to a file.

Each runs in a process and an environment of its own, with nothing but its own dependencies, and reports the
CPU time that this process spent. So the rounds of several peers can be interleaved.
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a peer does at a time: `count` images of side x side, `at_once` of them in progress."""

    side: int
    count: int
    at_once: int


Run = Callable[[Round], Awaitable[Sequence[Path]]]
"""Fetches the images of a round, and returns their files."""

Fetch = Callable[[int, Path], Awaitable[Path]]
"""Fetches an image of side x side into a file."""

Peer = Callable[[str, Path], AbstractAsyncContextManager[Run]]
"""Opens a program on a server's address and a folder."""


def _single_calls(fetch: Fetch, folder: Path) -> Run:
    async def run(work: Round) -> Sequence[Path]:
        paths = iter([folder / f"{number}.png" for number in range(work.count)])
        files: list[Path] = []

        async def worker() -> None:
            for path in paths:
                files.append(await fetch(work.side, path))  # noqa: PERF401  # it is shared

        await asyncio.gather(*(worker() for _ in range(work.at_once)))
        return files

    return run


@asynccontextmanager
async def openai_sdk(url: str, folder: Path) -> AsyncGenerator[Run]:
    """Use the openai SDK as its own documentation does."""
    from openai import AsyncOpenAI  # noqa: PLC0415  # only whoever runs this peer imports it

    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

        async def fetch(side: int, path: Path) -> Path:
            reply = await client.images.generate(
                model="m",
                prompt="a fox",
                size=f"{side}x{side}",
                extra_body={"seed": 1},  # type: ignore[arg-type]  # sizes of its own
            )
            assert reply.data
            path.write_bytes(base64.b64decode(reply.data[0].b64_json or ""))
            return path

        yield _single_calls(fetch, folder)


@asynccontextmanager
async def httpx_json(url: str, folder: Path) -> AsyncGenerator[Run]:
    """Use httpx directly, with `.json()`."""
    import httpx  # noqa: PLC0415  # likewise

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def fetch(side: int, path: Path) -> Path:
            reply = await client.post(
                "/v1/images/generations", json={"prompt": "a fox", "size": f"{side}x{side}", "seed": 1}
            )
            path.write_bytes(base64.b64decode(reply.json()["data"][0]["b64_json"]))
            return path

        yield _single_calls(fetch, folder)


@asynccontextmanager
async def own_client(url: str, folder: Path, *, into_file: bool) -> AsyncGenerator[Run]:
    """Use this project's client, with `into` or with bytes that are written by hand."""
    from vllm_omni_client import AsyncOmniClient, ImageGenerationRequest  # noqa: PLC0415  # likewise

    async with AsyncOmniClient(url) as client:

        async def fetch(side: int, path: Path) -> Path:
            request = ImageGenerationRequest(prompt="a fox", size=f"{side}x{side}", seed=1)
            if into_file:
                return (await client.generate_image(request, into=path)).path
            path.write_bytes((await client.generate_image(request)).data[0].bytes)
            return path

        yield _single_calls(fetch, folder)


@asynccontextmanager
async def studio_generate(url: str, folder: Path) -> AsyncGenerator[Run]:
    """Use `Studio.generate`: checked, saved with its metadata, indexed."""
    from vllm_image_core import Studio  # noqa: PLC0415  # likewise

    async with Studio(url, output_dir=folder) as studio:

        async def fetch(side: int, _: Path) -> Path:
            return (await studio.generate("a fox", width=side, height=side)).path

        yield _single_calls(fetch, folder)


@asynccontextmanager
async def studio_batch(url: str, folder: Path) -> AsyncGenerator[Run]:
    """Use `Studio.batch`: each image recorded before it is sent, too."""
    from vllm_image_core import Done, ImageRequest, Studio  # noqa: PLC0415  # likewise

    async with Studio(url, output_dir=folder) as studio:

        async def run(work: Round) -> Sequence[Path]:
            requests = [
                ImageRequest(prompt="a fox", width=work.side, height=work.side) for _ in range(work.count)
            ]
            batch = studio.batch(requests, max_concurrent=work.at_once)
            return [outcome.value.path async for outcome in batch if isinstance(outcome, Done)]

        yield run


@asynccontextmanager
async def raw_socket(url: str, folder: Path) -> AsyncGenerator[Run]:
    """Use a bare socket and one buffer for one image after the other, in file mode: the lower bound."""
    host, _, port = url.removeprefix("http://").partition(":")
    buffer = memoryview(bytearray(256 * 1024))
    with socket.create_connection((host, int(port))) as connection:

        async def fetch(side: int, path: Path) -> Path:
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
            return path

        yield _single_calls(fetch, folder)


PEERS: Final[Mapping[str, Peer]] = {
    "openai SDK": openai_sdk,
    "httpx .json()": httpx_json,
    "client, in memory": partial(own_client, into_file=False),
    "client, into=": partial(own_client, into_file=True),
    "Studio.generate": studio_generate,
    "Studio.batch": studio_batch,
    "raw socket": raw_socket,
}

ENVIRONMENTS: Final[Mapping[str, str]] = {
    "openai SDK": "openai",
    "httpx .json()": "vllm-omni-client",
    "client, in memory": "vllm-omni-client",
    "client, into=": "vllm-omni-client",
    "Studio.generate": "vllm-image-core",
    "Studio.batch": "vllm-image-core",
    "raw socket": "vllm-omni-client",
}
"""What is installed where each peer runs: that, its dependencies, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a round cost: CPU milliseconds per image, and the hash of the pixels that were saved."""

    milliseconds: float
    pixels: str


class Competitor:
    """A peer that runs in a process of its own until `stop`."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True)
        command = [interpreter(ENVIRONMENTS[name]), __file__, name, url, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, work: Round) -> Spent:
        """Run a round, and return what it cost."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(asdict(work)), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} has ended; see above")
        return Spent(**json.loads(answer))

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def competitors(names: Sequence[str], url: str, folder: Path) -> Generator[Mapping[str, Competitor]]:
    """Start some peers on one server; they end with the block."""
    with ExitStack() as stack:
        started: dict[str, Competitor] = {}
        for name in names:
            started[name] = Competitor(name, url, folder / name.replace(" ", "_"))
            stack.callback(started[name].stop)
        yield started


def interleave(peers: Mapping[str, Competitor], work: Round, *, rounds: int) -> Mapping[str, list[float]]:
    """Run rounds in random order; return the CPU milliseconds per image of each round, by peer."""
    pixels = {name: peer.run(work).pixels for name, peer in peers.items()}  # the first round warms up, too
    assert len(set(pixels.values())) == 1, f"the peers saved different pixels: {pixels}"
    spent: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name in random.sample(sorted(peers), len(peers)):
            spent[name].append(peers[name].run(work).milliseconds)
    return spent


def interpreter(environment: str) -> str:
    """Return the interpreter of an environment: as `nox -s bench` has installed it, or this one."""
    variable = f"BENCH_{environment.upper().replace('-', '_')}"
    return os.environ.get(variable, sys.executable)


async def serve_rounds(name: str, url: str, folder: Path) -> None:
    """Run the rounds that are requested on stdin."""
    async with PEERS[name](url, folder) as run:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            work = Round(**json.loads(line))
            began = time.process_time()
            files = await run(work)
            spent = time.process_time() - began
            answer = Spent(milliseconds=spent / work.count * 1000, pixels=_pixels(files[0].read_bytes()))
            for file in files:
                file.unlink()
            print(json.dumps(asdict(answer)), flush=True)


def _pixels(data: bytes) -> str:
    """Hash the image data of a PNG, which no metadata changes."""
    digest, position = hashlib.sha256(), 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4])
        if data[position + 4 : position + 8] == b"IDAT":
            digest.update(data[position + 8 : position + 8 + length])
        position += length + 12
    return digest.hexdigest()


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    asyncio.run(serve_rounds(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
