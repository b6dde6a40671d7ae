"""Measure how fairly many users share one server over HTTP, and whether its memory and descriptors stay flat.

Run it with `uvx nox -s bench -- users`, on Linux. A simulated server generates the images, and fifty users of
one `vllm-image-mcp serve --transport http` each keep two batches in progress: images of two sizes, and every
tenth user has a share of 2. After a warm-up, each user's estimated GPU seconds are read from `/metrics` and
compared with what the user's share of all of them would be. Exits with 1 if a call failed, a user got more
than 10 % less or more than that, or memory or open files grew.
"""

import argparse
import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from _http_server import http_server
from prometheus_client.parser import text_string_to_metric_families

GOAL = 0.10
"""How far a user may be from a fair part."""
MOST_GROWTH = 1.10
"""Memory at the end relative to that after the warm-up."""
MOST_FILES = 20
"""Open files at the end in addition to those after the warm-up."""

MOST_WARM_UP_SECONDS = 600.0
CALL_SECONDS = 120.0
IMAGES = 8
WARM_UP_IMAGES = 2 * IMAGES
"""Images that everybody gets before anything is measured: the server then remembers ended batches."""
SIZES = (256, 384)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the server, who wants images of one size."""

    name: str
    token: str
    share: int
    side: int

    @property
    def table(self) -> str:
        """The user's table in the file of users."""
        return f'[[user]]\nname = "{self.name}"\ntoken = "{self.token}"\nshare = {self.share}\n'


class Load:
    """Fifty users at work.

    Attributes:
        errors: What calls failed with.
        calls: How many calls have ended.
    """

    def __init__(self, url: str) -> None:
        self.errors: list[str] = []
        self.calls = 0
        self._url = url

    async def keep_busy(self, person: Person, number: int) -> None:
        """Keep a batch of a user in progress until cancelled."""
        async with httpx2.AsyncClient(
            headers={
                "authorization": f"Bearer {person.token}",
                "accept": "application/json, text/event-stream",
            },
            timeout=CALL_SECONDS,
        ) as http:
            while True:
                result = await self._call(
                    http,
                    "batch_generate",
                    prompts=[f"{person.name} {number} {secrets.token_hex(4)}"],
                    count=IMAGES,
                    width=person.side,
                    height=person.side,
                )
                while result.get("status") == "running":
                    result = await self._call(http, "get_batch", batch_id=result["batch_id"])
                self.calls += 1

    async def _call(self, http: httpx2.AsyncClient, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool, and return the structured content of its result; count anything else as an error."""
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }
        answer = await http.post(self._url, json=call)
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        result: dict[str, Any] = json.loads(data[-1]).get("result", {}) if data else {}
        if result.get("isError", True):
            self.errors.append(answer.text[:300])
        return result.get("structuredContent", {})


def main() -> int:
    """Run the benchmark."""
    options = _options()
    people = [
        Person(
            name=f"user-{number:02}",
            token=secrets.token_hex(16),
            share=2 if number % 10 == 0 else 1,
            side=SIZES[number % len(SIZES)],
        )
        for number in range(options.users)
    ]
    with tempfile.TemporaryDirectory() as folder, _simulator(options.speed) as omni:
        watcher = secrets.token_hex(16)
        users = Path(folder, "users.toml")
        users.write_text(
            "".join(person.table for person in people)
            + f'[[user]]\nname = "watcher"\ntoken = "{watcher}"\nmetrics = true\n',
            "utf-8",
        )
        serving = ("--vllm-url", omni, "--users-file", str(users), "--preview", "none")
        with http_server(*serving, "--output-dir", str(Path(folder, "images"))) as (process, url):
            return asyncio.run(_measure(people, process, url, watcher, options.seconds))


async def _measure(
    people: Sequence[Person], process: psutil.Process, url: str, watcher: str, seconds: float
) -> int:
    load = Load(url)
    tasks = [asyncio.create_task(load.keep_busy(person, number)) for person in people for number in range(2)]
    await _warm_up(people, url, watcher)
    before, memory, files = await _gpu_seconds(url, watcher), process.memory_info().rss, process.num_fds()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(1)
        if failed := [task for task in tasks if task.done()]:
            load.errors.append(repr(failed[0].exception()))
            break
    after = await _gpu_seconds(url, watcher)
    ending = (process.memory_info().rss, process.num_fds())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    used = {person: after.get(person.name, 0) - before.get(person.name, 0) for person in people}
    fair = sum(used.values()) / sum(person.share for person in people)
    parts = {person: seconds / (fair * person.share) for person, seconds in used.items()}
    worst = max(parts.values(), key=lambda part: abs(part - 1))
    growth = ending[0] / memory
    print(
        f"{len(people)} users, {seconds:.0f} s, {load.calls} batches of {IMAGES}, {len(load.errors)} errors"
    )
    print(f"GPU seconds given out: {sum(used.values()):.1f}")
    print(f"parts relative to fair: {min(parts.values()):.3f} to {max(parts.values()):.3f}")
    for side in SIZES:
        of_side = [part for person, part in parts.items() if person.side == side and person.share == 1]
        print(f"  {side}x{side}: mean {sum(of_side) / len(of_side):.3f}")
    of_two = [part for person, part in parts.items() if person.share > 1]
    print(f"  share of 2: mean {sum(of_two) / len(of_two):.3f}")
    print(
        f"memory: {memory / 1e6:.0f} MB, then {ending[0] / 1e6:.0f} MB; open files: {files}, then {ending[1]}"
    )
    for error in load.errors[:5]:
        print(error)
    failed = load.errors or abs(worst - 1) > GOAL or growth > MOST_GROWTH or ending[1] > files + MOST_FILES
    return int(bool(failed))


async def _warm_up(people: Sequence[Person], url: str, token: str) -> None:
    """Wait until everybody has some images: connections are open, the speed is known, and caches are full."""
    async with asyncio.timeout(MOST_WARM_UP_SECONDS):
        while True:
            images = await _samples(url, token, "vllm_image_images_total")
            if all(images.get(person.name, 0) >= WARM_UP_IMAGES for person in people):
                return
            await asyncio.sleep(1)


async def _gpu_seconds(url: str, token: str) -> Mapping[str, float]:
    return await _samples(url, token, "vllm_image_gpu_seconds_total")


async def _samples(url: str, token: str, name: str) -> Mapping[str, float]:
    async with httpx2.AsyncClient(timeout=CALL_SECONDS) as http:
        answer = await http.get(url.replace("/mcp", "/metrics"), headers={"authorization": f"Bearer {token}"})
    return {
        sample.labels["user"]: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    }


@contextmanager
def _simulator(speed: float) -> Generator[str]:
    command = [sys.executable, "-m", "vllm_omni_client.simulator", "--port", "0", "--speed", str(speed)]
    process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http://")).rstrip(".")
    finally:
        process.kill()
        process.communicate()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--speed", type=float, default=1.0, help="1 is as slow as an H100")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
