"""Measure the CPU time and memory that the batch engine itself costs per request.

Run it with `uvx nox -s bench -- batches`; `--jobs 1000000` for a million. The requests come from a
generator; each is checked, recorded in the journal, dispatched and recorded as done, but no image is
generated. The goals are at most 100 microseconds of CPU per request, 20 MB for 100,000 requests, 300 MB for
1,000,000, and the first request in progress within a second. Exits with 1 if a goal is missed.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from vllm_image_core.generation.generator import Generator
from vllm_image_core.generation.job import Job, Record
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client import AsyncOmniClient
from vllm_omni_client.simulator import create_app

JOBS = 100_000
MOST_MICROSECONDS = 100.0
MOST_MEGABYTES = 20.0
MOST_MEGABYTES_IN_ALL = 300.0
MOST_SECONDS_TO_THE_FIRST = 1.0


async def measured(jobs: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Return each figure with its goal."""
    studio = Studio(AsyncOmniClient.in_process(create_app()), output_dir=folder)
    async with studio:
        sample = replace(await studio.generate("a red fox", width=64, height=64), seconds=0.0)
        first: list[float] = []

        async def made(_: Generator, _job: Job, record: Record, **_on_start: object) -> object:
            first.append(time.monotonic()) if not first else None
            await asyncio.sleep(0)
            record(sample)
            return sample

        Generator.generate = made  # type: ignore[method-assign, assignment]  # the engine alone is measured
        before, started, cpu = memory(), time.monotonic(), time.process_time()
        requests = (ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(jobs))
        batch = studio.batch(requests, max_concurrent=8)
        await batch.wait()
        if batch.progress.done != jobs:
            raise SystemExit(f"{batch.progress} after {jobs} requests")
        return {
            "CPU for each request, us": ((time.process_time() - cpu) / jobs * 1e6, MOST_MICROSECONDS),
            "memory added, MB": (memory() - before, MOST_MEGABYTES * max(1.0, jobs / JOBS)),
            "memory in all, MB": (memory(), MOST_MEGABYTES_IN_ALL),
            "first request under way, s": (first[0] - started, MOST_SECONDS_TO_THE_FIRST),
        }


def memory() -> float:
    """Return the peak memory of this process, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"number of requests ({JOBS})")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batches-") as name:
        figures = asyncio.run(measured(options.jobs, Path(name)))
    for figure, (found, goal) in figures.items():
        print(f"{figure:<28} {found:8.2f}   goal: at most {goal:g}{'' if found <= goal else '   MISSED'}")
    return 0 if all(found <= goal for found, goal in figures.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
