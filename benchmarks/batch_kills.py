"""Kill a process that runs batches at random moments, and check what other processes make of its batches.

Run it with `uvx nox -s bench -- batch_kills`; `--kills 20` for fewer kills. Batches of small images run over
real sockets, on a simulated server that counts requests. After each `kill -9` another process resumes the
batch: an image that was reported, or was complete on the disk, must stay and must not be sent again, and
only requests in flight may be; every visible file must be a complete image, and each batch must end with all
its images, each in one file. Every second batch comes from a generator: requests that were not recorded yet
are lost with their process. Exits with 1 if one of these does not hold.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from vllm_image_core.batches.items import Done
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.record import facts_in
from vllm_image_core.studio import Studio
from vllm_omni_client.simulator import SimulatorSettings, create_app
from vllm_omni_client.simulator.http.serving import base_url, create_server, open_listener

KILLS = 200
REQUESTS = 24
AT_ONCE = 3
LONGEST_SECONDS = 0.35
DEADLINE_SECONDS = 60.0
MOST_KILLS_OF_A_BATCH = 12
PROCESSES = multiprocessing.get_context("forkserver")
"""Processes of this context start with everything imported."""
PRELOADED = ("vllm_image_core.studio", "vllm_omni_client._async_client", "vllm_image_core.models.loader")


def makes(pipe: Connection, url: str, folder: Path, what: str, name: str) -> None:
    """Run or resume a batch in the process that will be killed, and report progress on a pipe."""

    async def whole() -> None:
        async with Studio(url, output_dir=folder) as studio:
            requests = (ImageRequest(prompt=f"{name} {n}", width=64, height=64) for n in range(REQUESTS))
            batch = (
                studio.resume(name)
                if what == "resume"
                else studio.batch(list(requests) if what == "list" else requests, max_concurrent=AT_ONCE)
            )
            pipe.send(("batch", batch.id))
            await batch
            pipe.send(("begun", ""))
            async for outcome in batch:
                pipe.send(("done" if isinstance(outcome, Done) else "failed", outcome.item.prompt))
            pipe.send(("over", str(batch.progress.total)))

    asyncio.run(whole())


class Counting:
    """Wraps the simulator and counts how often each prompt was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.sent: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a generation, and pass it on."""
        if scope.get("path") != "/v1/images/generations":
            await self._app(scope, receive, send)
            return
        body = b""
        messages: list[Message] = []
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            body += messages[-1].get("body", b"")
        if messages[-1]["type"] != "http.disconnect":  # killed while sending
            self.sent[json.loads(body)["prompt"]] += 1

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


class Maker:
    """A process that runs a batch, and what it has reported."""

    def __init__(self, url: str, folder: Path, what: str, name: str) -> None:
        self._pipe, theirs = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=makes, args=(theirs, url, folder, what, name))
        self._process.start()
        theirs.close()
        self.told: dict[str, list[str]] = defaultdict(list)
        self._hear(until="batch")

    def wait(self, seconds: float) -> bool:
        """Wait for it to end by itself, and return whether it has."""
        self._process.join(seconds)
        return not self._process.is_alive()

    def end(self) -> int | None:
        """Kill it if it still runs, read the rest of its reports, and return its exit status."""
        self._process.kill()
        self._hear()
        self._process.join(DEADLINE_SECONDS)
        return self._process.exitcode

    def _hear(self, until: str | None = None) -> None:
        """Read its reports, including those sent before it was killed."""
        with suppress(EOFError):
            while until is None or not self.told[until]:
                if not self._pipe.poll(DEADLINE_SECONDS):
                    return
                word, what = self._pipe.recv()
                self.told[word].append(what)


class Trial:
    """Runs batches, kills their processes, and collects faults."""

    def __init__(self, server: Counting, url: str, folder: Path, chance: random.Random) -> None:
        self.kills = 0
        self.batches = 0
        self.again = 0
        self.whole_batches = 0
        self.faults: list[str] = []
        self._server = server
        self._url = url
        self._folder = folder
        self._chance = chance
        self._looked_at: dict[str, str] = {}

    def batch(self, most_kills: int) -> None:
        """Run one batch, killing and resuming it until it is complete."""
        self.batches += 1
        name = f"batch-{self.batches}"
        what, batch_id = ("list" if self.batches % 2 else "generator"), name
        told: set[str] = set()
        kills = 0
        while True:
            before, whole = self._server.sent.copy(), self._whole()
            maker = Maker(self._url, self._folder, what, batch_id)
            started = time.monotonic()
            spared = kills >= min(MOST_KILLS_OF_A_BATCH, most_kills)
            limit = DEADLINE_SECONDS if spared else self._chance.uniform(0, LONGEST_SECONDS)
            ended = maker.wait(limit)
            status = maker.end()
            told |= set(maker.told["done"])
            self._compare(before, whole, told, name)
            if ended or spared:
                self._finish(maker, status, name, kills, seconds=time.monotonic() - started)
                return
            kills += 1
            self.kills += 1
            what, batch_id = self._after_kill(maker, what, batch_id)

    def _after_kill(self, maker: Maker, what: str, batch_id: str) -> tuple[str, str]:
        """Return what the next process does: resume, or start again if nothing had been recorded."""
        if what == "resume" or maker.told["begun"]:
            return "resume", batch_id if what == "resume" else maker.told["batch"][0]
        return what, batch_id

    def _compare(self, before: Counter[str], whole: set[str], told: set[str], name: str) -> None:
        now = self._whole()
        sent = self._server.sent - before
        self.faults += [
            f"{name}: '{each}' was complete but was sent again" for each in sorted(whole & sent.keys())
        ]
        self.faults += [f"{name}: '{each}' was reported but is lost" for each in sorted(told - now)]

    def _finish(self, maker: Maker, status: int | None, name: str, kills: int, *, seconds: float) -> None:
        total = int(next(iter(maker.told["over"]), "0"))  # for a generator, those recorded before the kill
        wanted = {f"{name} {number}" for number in range(total)}
        self.whole_batches += total == REQUESTS
        if self.batches % 2 and total != REQUESTS:
            self.faults.append(f"{name}: only {total} of the {REQUESTS} requests of a list were recorded")
        if status != 0 or not maker.told["over"]:
            self.faults.append(f"{name}: the last process is stuck or has failed, after {seconds:.1f} s")
        missing = wanted - self._whole()
        self.faults += [f"{name}: '{each}' is missing at the end" for each in sorted(missing)]
        again = sum(self._server.sent[each] - 1 for each in wanted)
        self.again += again
        if again > kills * AT_ONCE:
            self.faults.append(f"{name}: {again} sent again after {kills} kills with {AT_ONCE} in flight")

    def _whole(self) -> set[str]:
        """Return the prompts of all images in the folder; a file that is not an image is a fault."""
        for entry in os.scandir(self._folder):
            if entry.name.startswith(".") or entry.name in self._looked_at:
                continue
            data = Path(entry.path).read_bytes()
            try:
                Picture.check(data)
            except BadPicture as error:
                self.faults.append(f"{entry.name} is not a complete image: {error}")
            prompt = str(facts_in(data).get("prompt"))
            if prompt in self._looked_at.values():
                self.faults.append(f"{entry.name}: '{prompt}' has two files")
            self._looked_at[entry.name] = prompt
        return set(self._looked_at.values())


def main() -> int:
    """Kill, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"number of kills ({KILLS})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (0)")
    options = parser.parse_args()
    PROCESSES.set_forkserver_preload(["__main__", *PRELOADED])
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batch-kills-") as name, _served() as (server, url):
        folder = Path(name) / "pictures"
        folder.mkdir()
        trial = Trial(server, url, folder, random.Random(options.seed))
        while trial.kills < options.kills:
            trial.batch(options.kills - trial.kills)
        pictures = len(list(folder.glob("*.png")))
    seconds = time.monotonic() - started
    print(f"{trial.kills} kills of {trial.batches} batches, {pictures} images, {seconds:.0f} s")
    print(f"batches with all their requests at the end: {trial.whole_batches}")
    print(f"sent again because they were in flight: {trial.again} (at most {AT_ONCE} per kill)")
    print(f"lost, repeated, incomplete, duplicated or stuck: {len(trial.faults)}; the goal is 0")
    for fault in trial.faults[:20]:
        print(f"  {fault}")
    return 1 if trial.faults or not pictures else 0


@contextmanager
def _served() -> Generator[tuple[Counting, str]]:
    counting = Counting(create_app(SimulatorSettings(speed=0.02)))
    server = create_server(counting)
    with open_listener("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield counting, base_url(listener)
        finally:
            server.should_exit = True
            thread.join(DEADLINE_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
