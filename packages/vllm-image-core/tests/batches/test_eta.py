"""The ETA of a batch: complete batches on servers in virtual time.

That loop ends by itself when nothing will happen; a deadline of its own time would pass while the journal's
thread writes.
"""

import asyncio
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from recorded_batches import requests
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.estimation.backlog import Eta
from vllm_image_core.estimation.estimator import Estimate
from vllm_image_core.fleet.backend import ServerRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_image_core.testing.virtual_server import VirtualServer
from vllm_image_core.testing.virtual_time import run
from vllm_omni_client.models import ImageGenerationRequest

if TYPE_CHECKING:
    from conftest import BatchServer

MODEL = "Tongyi-MAI/Z-Image-Turbo"
EDITOR = "black-forest-labs/FLUX.2-klein-4B"


def seconds_of(request: ServerRequest) -> float:
    """A law that is not the profile's: three times slower, and of another shape."""
    width, _, height = (request.size or "").partition("x")
    megapixels = int(width) * int(height) / 1e6
    return 1.0 + megapixels + (request.num_inference_steps or 1) * (0.1 + megapixels + 0.3 * megapixels**2)


def mixed(count: int) -> list[ImageRequest]:
    draw = random.Random(5)
    return [
        ImageRequest(
            prompt=f"fox {number}",
            seed=number,
            width=draw.randrange(512, 1985, 64),
            height=draw.randrange(512, 1985, 64),
            num_inference_steps=draw.randint(4, 16),
        )
        for number in range(count)
    ]


def gpu(
    url: str = "http://a",
    *,
    work: Callable[[ServerRequest], float] = seconds_of,
    speed: float = 1.0,
    parallel: int = 1,
    model: str = MODEL,
) -> VirtualServer:
    return VirtualServer(
        url, work=work, speed=speed, parallel=parallel, noise=0.03, model=model, tells_metrics=True
    )


async def told_after(count: int, batch: ImageBatch) -> tuple[Eta, float]:
    """The ETA of a batch after some outcomes, and how long it takes from there."""
    loop = asyncio.get_running_loop()
    told, then, seen = batch.eta, loop.time(), 0
    async for _ in batch:
        seen += 1
        if seen == count:
            told, then = batch.eta, loop.time()
    assert (batch.progress.done, batch.eta.seconds) == (seen, 0.0)
    return told, loop.time() - then


def made_by(
    folder: Path, servers: list[VirtualServer], requests: list[ImageRequest], *, after: int
) -> tuple[Eta, Eta, float]:
    """The ETA of a batch before its first image, a later one, and how long it took."""

    async def main() -> tuple[Eta, Eta, float]:
        for server in servers:
            server.come_up()
        timer = asyncio.get_running_loop().time
        async with Studio(servers, output_dir=folder, timer=timer) as studio:
            batch = await studio.batch(requests)
            before = batch.eta
            return (before, *await told_after(after, batch))

    return run(main())


DEADLINE_SECONDS = 60


def test_a_batch_of_200_mixed_images_has_an_eta_after_5(tmp_path: Path) -> None:
    before, told, took = made_by(tmp_path, [gpu()], mixed(200), after=5)
    assert before.basis == "nothing measured yet: from the profile, may be off by half"
    assert not before.measured
    assert told.basis.startswith("5 images on this server")
    assert told.measured
    assert told.seconds == pytest.approx(took, rel=0.08)


def test_the_next_batch_on_the_folder_has_an_eta_before_its_first_image(tmp_path: Path) -> None:
    made_by(tmp_path, [gpu()], mixed(10), after=5)
    others = [ImageRequest(prompt="owl", seed=seed, width=768, height=768) for seed in range(10)]
    before, _, _ = made_by(tmp_path, [gpu()], others, after=5)
    one = ImageGenerationRequest(prompt="owl", size="768x768", num_inference_steps=9)
    assert before.basis.startswith("10 images on this server")
    assert before.seconds == pytest.approx(10 * seconds_of(one), rel=0.08)


def test_several_servers_share_the_rest_according_to_their_speeds(tmp_path: Path) -> None:
    servers = [gpu("http://a"), gpu("http://b", speed=0.5), gpu("http://c", speed=0.25)]
    _, told, took = made_by(tmp_path, servers, mixed(80), after=20)
    assert "on 3 of 3 servers" in told.basis
    assert told.seconds == pytest.approx(took, rel=0.12)


def test_the_parallelism_of_a_server_is_known_from_its_own_metrics(tmp_path: Path) -> None:
    _, told, took = made_by(tmp_path, [gpu(parallel=3)], mixed(80), after=20)
    assert told.seconds == pytest.approx(took, rel=0.15)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_edits_have_times_of_their_own(tmp_path: Path) -> None:
    def work(request: ServerRequest) -> float:
        return seconds_of(request) if isinstance(request, ImageGenerationRequest) else 40.0

    async def main() -> tuple[Estimate, Estimate, Estimate]:
        timer = asyncio.get_running_loop().time
        backend = gpu(work=work, model=EDITOR)
        edit = EditRequest(prompt="make it night", images=png(1024, 1024))
        async with Studio(backend, output_dir=tmp_path, timer=timer) as studio:
            for seed in range(3):
                await studio.generate("fox", seed=seed)
            guess = await studio.estimate_edit(edit)
            for _ in range(3):
                await studio.make(edit)
            return guess, await studio.estimate_edit(edit), await studio.estimate()

    guess, edits, pictures = run(main())
    assert not guess.measured
    assert edits.seconds_per_image == pytest.approx(40.0, rel=0.05)
    assert edits.basis.startswith("3 images on this server")
    assert pictures.basis.startswith("3 images on this server")
    assert pictures.seconds_per_image < 20


def test_a_batch_of_edits_and_generations_has_an_eta(tmp_path: Path) -> None:
    def work(request: ServerRequest) -> float:
        return 10.0 if isinstance(request, ImageGenerationRequest) else 40.0

    pictures = [ImageRequest(prompt="fox", seed=seed, width=512, height=512) for seed in range(20)]
    edits = [EditRequest(prompt="night", seed=seed, images=png(512, 512)) for seed in range(20)]
    both = [request for pair in zip(pictures, edits, strict=True) for request in pair]
    _, told, took = made_by(tmp_path, [gpu(work=work, model=EDITOR)], both, after=10)
    assert "; for edits: 5 images on this server" in told.basis
    assert told.seconds == pytest.approx(took, rel=0.05)


async def test_the_eta_of_a_batch_follows_its_own_images(batch_server: "BatchServer", tmp_path: Path) -> None:
    seconds = iter(range(1_000))
    studio = Studio(batch_server, output_dir=tmp_path, timer=lambda: float(next(seconds)))
    async with asyncio.timeout(DEADLINE_SECONDS), studio:
        batch = studio.batch(requests(4), max_concurrent=1)
        assert batch.eta.seconds is None
        await anext(aiter(batch))
        await batch.wait()
        assert batch.eta.seconds == 0.0


async def test_a_resumed_batch_has_an_eta_before_its_first_image(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch_server.gate.clear()
            batch = await studio.batch(requests(600))
            whole = batch.eta.seconds
        async with batch_server.studio(tmp_path) as studio:
            await studio.model()
            again = await studio.resume(batch.id)
            left = again.eta.seconds
            batch_server.gate.set()
    assert whole is not None
    assert left == pytest.approx(whole, rel=0.01)
