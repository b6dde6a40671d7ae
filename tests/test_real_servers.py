"""Several vLLM-Omni servers themselves, one of which is killed while a batch runs."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.batches.items import Done
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio

DEADLINE_SECONDS = 400.0
PICTURES = 30


def restarted(server: Any) -> None:  # noqa: ANN401 - of a file that no package holds
    server.start()
    server.until_healthy()


@pytest.mark.real
async def test_thirty_images_are_generated_although_one_of_two_servers_is_killed(
    two_real_servers: list[Any], tmp_path: Path
) -> None:
    servers = two_real_servers
    requests = [ImageRequest(prompt=f"fox {n}", seed=n, width=64, height=64) for n in range(PICTURES)]
    made: Counter[str | None] = Counter()
    by_then: Counter[str | None] = Counter()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        Studio([each.url for each in servers], output_dir=tmp_path, gpu=Gpu(total_vram_gb=80.0)) as studio,
        await studio.batch(requests, max_concurrent=2) as batch,
    ):
        async for outcome in batch:
            assert isinstance(outcome, Done), outcome
            made[outcome.value.server] += 1
            if made.total() == PICTURES // 3:
                by_then = made.copy()
                await asyncio.to_thread(servers[0].kill)
            if made.total() == PICTURES - 3:
                await asyncio.to_thread(restarted, servers[0])

    assert made.total() == PICTURES
    assert set(by_then) == {each.url for each in servers}
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) == PICTURES
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert image.size == (64, 64)
