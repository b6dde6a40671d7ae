"""Estimates against the simulated server, whose time is virtual here, so that its reports are exact."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client import AsyncOmniClient
from vllm_omni_client.simulator import Simulation, SimulatorSettings
from vllm_omni_client.simulator.engine import engine
from vllm_omni_client.simulator.engine.model_rules import rules_for

DEADLINE_SECONDS = 120
MODEL = "black-forest-labs/FLUX.2-klein-4B"


class VirtualTime:
    """Seconds that pass only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """The time of the simulated GPU."""
    time = VirtualTime()
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=time))
    monkeypatch.setattr(engine, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": time.sleep}))
    return time


def studio_of(time: VirtualTime, folder: Path, *, speed: float) -> Studio:
    simulation = Simulation(SimulatorSettings(model=MODEL, speed=speed))
    transport = httpx.ASGITransport(simulation.app, raise_app_exceptions=False)
    client = AsyncOmniClient("http://gpu:6655", transport=transport, clock=time, timeout=1e6)
    return Studio(client, output_dir=folder, timer=time)


def real_seconds(side: int, steps: int, *, speed: float) -> float:
    return speed * rules_for(MODEL).seconds(pixels=side * side, steps=steps, guided=False, n=1)


async def made(studio: Studio, sides: tuple[int, ...], *, at_once: int) -> None:
    requests = [
        ImageRequest(prompt=f"fox {number}", width=side, height=side, num_inference_steps=4 + number % 5)
        for number, side in enumerate(sides)
    ]
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        await studio.batch(requests, max_concurrent=at_once) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
    assert (len(outcomes), len(batch.errors)) == (len(sides), 0)


async def off(studio: Studio, side: int, steps: int, *, speed: float) -> float:
    told = await studio.estimate(width=side, height=side, num_inference_steps=steps)
    real = real_seconds(side, steps, speed=speed)
    return abs(told.seconds_per_image - real) / real


async def test_after_some_images_an_estimate_is_near_the_real_cost_of_the_server(
    tmp_path: Path, virtual: VirtualTime
) -> None:
    speed = 3.0
    async with studio_of(virtual, tmp_path, speed=speed) as studio:
        assert await off(studio, 448, 6, speed=speed) > 0.5
        await made(studio, (128, 256, 384, 512, 320, 192), at_once=1)
        assert await off(studio, 448, 6, speed=speed) < 0.03
        assert await off(studio, 1024, 4, speed=speed) < 0.08
        told = await studio.estimate(width=448, height=448)
    assert told.basis.startswith("6 images on this server, off by ")
    assert told.peak_vram_gb == pytest.approx(15.4 * 1024**3 / 1e9, rel=0.02)


async def test_waiting_at_the_server_is_not_counted_as_work(tmp_path: Path, virtual: VirtualTime) -> None:
    async with studio_of(virtual, tmp_path, speed=0.5) as studio:
        await made(studio, (256, 320, 384, 256, 320, 384, 256, 320), at_once=4)
        assert await off(studio, 352, 6, speed=0.5) < 0.05


async def test_a_faster_server_is_noticed_by_the_next_process(tmp_path: Path, virtual: VirtualTime) -> None:
    async with studio_of(virtual, tmp_path, speed=2.0) as studio:
        await made(studio, (128, 192, 256, 320, 384) * 2, at_once=1)
    async with studio_of(virtual, tmp_path, speed=1.2) as studio:
        assert await off(studio, 256, 6, speed=1.2) > 0.5
        await made(studio, (128, 192, 256, 320, 384), at_once=1)
        assert await off(studio, 256, 6, speed=1.2) < 0.08
        assert "since this server changed its speed" in (await studio.estimate()).basis


@pytest.mark.parametrize(
    "name",
    [
        *("FLUX.2-klein-4B", "FLUX.2-klein-9B", "FLUX.2-klein-base-4B", "FLUX.2-klein-base-9B"),
        *("Qwen-Image", "Qwen-Image-2512", "Qwen-Image-Edit", "Qwen-Image-Edit-2509", "Qwen-Image-Edit-2511"),
        *("Z-Image", "Z-Image-Turbo"),
    ],
)
def test_a_simulated_model_needs_the_memory_that_its_profile_names(name: str) -> None:
    profile = Registry.builtin().by_name(name)
    assert profile is not None
    assert profile.estimated_vram_gb is not None
    simulated_gb = rules_for(name).family.resident_gib * 2**30 / 1e9
    assert simulated_gb == pytest.approx(profile.estimated_vram_gb, abs=0.06)
