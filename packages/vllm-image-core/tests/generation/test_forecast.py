"""Time and memory of images on a studio's servers."""

import asyncio
from pathlib import Path

import pytest
from drawing_server import KLEIN, QWEN, DownServer, Server, encoded, studio_of
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.metrics import ServerMetrics
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest


async def test_an_estimate_needs_a_whole_number_of_images(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        await studio_of(Server(), tmp_path).estimate(num_images=0)


class TimedServer(Server):
    """A backend that needs some seconds of a clock that it moves, one image at a time."""

    def __init__(self, seconds: float, **metrics: int) -> None:
        super().__init__(draw=lambda _: encoded("PNG"))
        self.seconds = seconds
        self.now = 0.0
        self.metrics = ServerMetrics(**metrics)  # type: ignore[arg-type]  # a test's metrics
        self.turn = asyncio.Lock()

    async def generate_image(self, request: ImageGenerationRequest, /) -> ImageGenerationReply:
        arrived = self.now
        async with self.turn:
            self.now += self.seconds
            reply = (await super().generate_image(request)).model_dump(mode="json", by_alias=True)
        waited = {"stage_0_gen_ms": 1000 * (self.now - arrived)}
        reply["metrics"] = {"stage_durations": waited, "peak_memory_mb": 20_000.0}
        return ImageGenerationReply.model_validate(reply)

    async def get_metrics(self) -> ServerMetrics:
        return self.metrics

    def studio(self, folder: Path, *, total_gb: float | None = None) -> Studio:
        gpu = Gpu(total_vram_gb=total_gb, source="configured")
        return Studio(self, output_dir=folder, timer=lambda: self.now, gpu=gpu)


async def test_an_estimate_learns_from_generated_images(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    before = await studio.estimate(width=64, height=64)
    assert before.basis == "nothing measured yet: from the profile, may be off by half"
    for number in range(6):
        await studio.generate(f"fox {number}", width=64, height=64)

    after = await studio.estimate(num_images=10, width=64, height=64)

    assert after.seconds_per_image == pytest.approx(7.0)
    assert after.total_seconds == pytest.approx(70.0)
    assert after.peak_vram_gb == pytest.approx(20_000 * 1024**2 / 1e9)
    assert after.basis == "6 images on this server, off by 1 % on the last 4"


async def test_measured_memory_decides_how_many_images_of_a_batch_run_at_once(
    tmp_path: Path,
) -> None:
    server = TimedServer(7.0)  # its images peak at 21 GB, those of a klein at 18 by its profile
    requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(3)]
    for at_once in (4, 1):
        studio = server.studio(tmp_path, total_gb=24.0)
        assert (await studio.gpu()).recommended_concurrent == at_once
        async with await studio.batch(requests) as batch:
            assert batch.concurrency == at_once
            assert len([outcome async for outcome in batch]) == 3
        await studio.aclose()  # what was measured is written now, for the next studio
    source = (await server.studio(tmp_path, total_gb=24.0).gpu()).sources["estimated_model_vram_gb"]
    assert source == "measured by the server during 6 images, without the image"


async def test_another_studio_on_the_folder_knows_the_measurements(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    await server.studio(tmp_path).generate("a fox", width=64, height=64)
    told = await server.studio(tmp_path).estimate(width=64, height=64)
    assert (told.measured, told.seconds_per_image) == (True, pytest.approx(7.0))
    other = TimedServer(7.0)
    other.base_url = "http://other:6655"
    assert not (await other.studio(tmp_path).estimate(width=64, height=64)).measured


async def test_waiting_between_images_of_a_batch_is_not_learned(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(8)]
    async with await studio.batch(requests, max_concurrent=4) as batch:
        assert len([outcome async for outcome in batch]) == 8
    assert (await studio.estimate(width=64, height=64)).seconds_per_image == pytest.approx(7.0, rel=0.01)


async def test_an_image_taken_from_the_folder_is_not_measured(tmp_path: Path) -> None:
    server = TimedServer(7.0)
    studio = server.studio(tmp_path)
    for _ in range(3):
        await studio.generate("a fox", width=64, height=64, seed=1)
    assert (await studio.estimate()).basis.startswith("1 image on this server")


async def test_the_queue_of_the_server_is_part_of_the_completion_time(tmp_path: Path) -> None:
    server = TimedServer(7.0, requests_running=1, requests_waiting=2)
    studio = server.studio(tmp_path)
    await studio.generate("a fox", width=64, height=64)
    told = await studio.estimate(width=64, height=64)
    assert (told.requests_ahead, told.completion_seconds) == (3, pytest.approx(28.0))


async def test_an_estimate_creates_no_folder(tmp_path: Path) -> None:
    studio = TimedServer(7.0).studio(tmp_path / "pictures")
    await studio.estimate()
    assert not (tmp_path / "pictures").exists()


async def test_an_estimate_is_for_the_loaded_model(tmp_path: Path) -> None:
    klein, qwen = studio_of(Server(KLEIN), tmp_path), studio_of(Server(QWEN), tmp_path)
    fast, slow = await klein.estimate(num_images=5), await qwen.estimate(num_images=5)
    assert fast.total_seconds == pytest.approx(5 * fast.seconds_per_image)
    assert slow.seconds_per_image > 5 * fast.seconds_per_image


async def test_the_gpu_is_reported_with_the_measurements_of_the_server(tmp_path: Path) -> None:
    report = await studio_of(Server(), tmp_path, gpu=Gpu(total_vram_gb=32.0, source="configured")).gpu()
    assert (report.total_vram_gb, report.free_vram_gb, report.peak_memory_mb) == (32.0, 16.0, 14_321.0)


async def test_nothing_is_invented_for_a_server_that_is_down(tmp_path: Path) -> None:
    studio = studio_of(DownServer(), tmp_path)
    report, health = await studio.gpu(), await studio.health()
    assert (report.name, report.total_vram_gb, report.model_vram_gb, report.free_vram_gb) == (None,) * 4
    assert (health.status, health.model, health.version, health.latency_seconds) == (
        "unreachable",
        None,
        None,
        None,
    )
