"""Measure the CPU time of each processing step of an image, from the server's reply to file and preview.

Run it with `uvx nox -s bench -- pictures`. The images are noise, which compresses worst, and a gradient with
noise, which is closer to a photograph. Each job runs several times in turn; the shortest CPU time counts,
since other processes on the machine can only add to it. Exits with 1 if a goal is missed.
"""

import argparse
import gc
import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image
from vllm_image_core.imaging.flat_colour import flat_colour
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.imaging.preview import Axis, contact_sheet, preview, xy_grid
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import recall
from vllm_image_core.provenance.recipe import collect_facts, write_recipe
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

ROUNDS = 9
LEAST_ROUNDS = 3
MODEL = "Qwen/Qwen-Image"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A processing step of an image, and what it may cost."""

    name: str
    goal_ms: float
    run: Callable[[], object]


def main() -> int:
    """Measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {LEAST_ROUNDS} ({ROUNDS})")
    rounds = max(LEAST_ROUNDS, parser.parse_args().rounds)
    jobs = _jobs()
    costs = _measured(jobs, rounds=rounds)
    print(f"Shortest CPU time of {rounds} rounds, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for job in jobs:
        verdict = "kept" if costs[job.name] <= job.goal_ms else "MISSED"
        print(f"{job.name:<52}{costs[job.name]:>9.3f} ms   goal {job.goal_ms:>7.1f} ms   {verdict}")
    return 1 if any(costs[job.name] > job.goal_ms for job in jobs) else 0


def _measured(jobs: tuple[Job, ...], *, rounds: int) -> Mapping[str, float]:
    costs = dict.fromkeys((job.name for job in jobs), float("inf"))
    for _ in range(rounds):
        for job in jobs:
            gc.collect()
            started = time.process_time()
            job.run()
            costs[job.name] = min(costs[job.name], 1000 * (time.process_time() - started))
    return costs


def _jobs() -> tuple[Job, ...]:
    photo = _encoded(_photo(1024), "PNG")
    twenty = [_encoded(_photo(512), "PNG")] * 20
    described = _described(photo)
    return (
        *(
            Job(name=f"splice all metadata, {kind} 1024x1024", goal_ms=2.0, run=_splice(kind))
            for kind in ("PNG", "JPEG", "WEBP")
        ),
        Job(name="check a PNG, 1024x1024", goal_ms=2.0, run=lambda: Picture.check(photo.bytes)),
        Job(name="look whether it is flat, 1024x1024", goal_ms=1.0, run=lambda: flat_colour(photo)),
        Job(name="recall from a PNG, 1024x1024", goal_ms=5.0, run=lambda: recall(described.bytes)),
        Job(name="preview of 768 px, WebP, from 1024x1024", goal_ms=150.0, run=lambda: preview(photo)),
        Job(
            name="preview of 512 px in 30 kB, WebP, from 1024x1024",
            goal_ms=150.0,
            run=lambda: preview(photo, longest_side=512, max_bytes=30_000),
        ),
        Job(
            name="contact sheet of 20, 512x512 each",
            goal_ms=1000.0,
            run=lambda: contact_sheet(twenty, captions=["seed 42"] * 20),
        ),
        Job(
            name="X/Y grid of 4 by 3, 512x512 each",
            goal_ms=1000.0,
            run=lambda: xy_grid(
                twenty[:12], x=Axis(name="seed", values="1234"), y=Axis(name="steps", values="489")
            ),
        ),
    )


def _splice(kind: str) -> Callable[[], object]:
    picture = _encoded(_noise(1024), kind)
    return lambda: _described(picture)


def _described(picture: Picture) -> Picture:
    return write_recipe(
        picture,
        _REQUEST,
        model=MODEL,
        facts=collect_facts(_REQUEST, model=MODEL, now=NOON, more={}),
        metadata=Metadata(),
    )


def _resolved() -> ResolvedRequest:
    request = ImageRequest(prompt="a red fox in the snow, 狐", negative_prompt="blurry", seed=42)
    return resolve(request, Registry.builtin().find(MODEL, None).profile, draw_seed=lambda: 0)


_REQUEST = _resolved()


def _noise(side: int) -> Image.Image:
    return Image.frombytes("RGB", (side, side), os.urandom(3 * side * side))


def _photo(side: int) -> Image.Image:
    shades = [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.radial_gradient("L").rotate(90)]
    smooth = Image.merge("RGB", shades).transform((side, side), Image.Transform.EXTENT, (0, 0, 256, 256))
    return Image.blend(smooth, _noise(side), 0.08)


def _encoded(image: Image.Image, kind: str) -> Picture:
    file = io.BytesIO()
    image.save(file, kind)
    return Picture.check(file.getvalue())


if __name__ == "__main__":
    sys.exit(main())
