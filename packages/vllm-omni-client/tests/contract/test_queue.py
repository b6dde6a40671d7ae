"""One request at a time: waiting, leaving, and what /metrics reports."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image

SECONDS = 60.0
LONGER = {"size": "128x128"}  # so that others have time to queue behind it


def small_png() -> bytes:
    """An image to edit."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def busy(slow_url: str, slow_headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A connection to a server on which a request takes a while."""
    async with httpx.AsyncClient(base_url=slow_url, timeout=SECONDS, headers=slow_headers) as client:
        yield client


async def generated(client: httpx.AsyncClient, request: dict[str, object]) -> float:
    """The time of a request in milliseconds as the server reports it, waiting included."""
    response = await client.post("/v1/images/generations", json=request)
    assert response.status_code == 200, response.text
    return float(response.json()["metrics"]["stage_durations"]["stage_0_gen_ms"])


async def counted(client: httpx.AsyncClient, family: str, label: str = "") -> float:
    """The sum of a family's samples in /metrics that have a label."""
    lines = (await client.get("/metrics")).text.splitlines()
    samples = [line for line in lines if line.startswith(f"vllm_omni:{family}{{") and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in samples)


async def present(client: httpx.AsyncClient) -> float:
    """How many requests the server has, running or waiting."""
    return await counted(client, "num_requests_running") + await counted(client, "num_requests_waiting")


async def until_present(client: httpx.AsyncClient, number: int) -> None:
    """Wait until the server has this many requests."""
    async with asyncio.timeout(SECONDS):
        while await present(client) != number:
            pass


async def leave(task: asyncio.Task[float]) -> None:
    """Close the connection of a request."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_requests_run_one_after_another(busy: httpx.AsyncClient, slow: dict[str, object]) -> None:
    await generated(busy, slow)  # the very first one may be slower
    times = sorted(await asyncio.gather(*(generated(busy, slow) for _ in range(4))))
    # Concurrently they would all take the same time; queued, the last takes three turns more than the first.
    assert times[3] > 2 * times[0]


async def test_the_server_answers_other_requests_while_it_works(
    busy: httpx.AsyncClient, slow: dict[str, object]
) -> None:
    working = asyncio.create_task(generated(busy, slow))
    await until_present(busy, 1)
    for path in ("/health", "/v1/models", "/metrics"):
        assert (await busy.get(path)).status_code == 200
    assert not working.done()
    await working


async def test_a_request_that_leaves_the_queue_never_runs(
    busy: httpx.AsyncClient, slow: dict[str, object]
) -> None:
    made = await counted(busy, "image_count_total")
    left = await counted(busy, "requests_failed_total", 'reason="client_disconnect"')
    first = asyncio.create_task(generated(busy, slow | LONGER))
    await until_present(busy, 1)
    second, third = (asyncio.create_task(generated(busy, slow)) for _ in range(2))
    await until_present(busy, 3)
    await leave(second)
    await asyncio.gather(first, third)
    assert await counted(busy, "image_count_total") == made + 2
    assert await counted(busy, "requests_failed_total", 'reason="client_disconnect"') == left + 1
    assert await present(busy) == 0


async def test_a_running_request_continues_if_its_client_leaves(
    busy: httpx.AsyncClient, slow: dict[str, object]
) -> None:
    quick = slow | {"num_inference_steps": 1}
    alone, long = await generated(busy, quick), await generated(busy, slow)
    running = asyncio.create_task(generated(busy, slow))
    await until_present(busy, 1)
    await leave(running)
    assert await generated(busy, quick) > alone + 0.3 * long


async def test_an_edit_runs_even_if_its_client_leaves_the_queue(
    busy: httpx.AsyncClient, slow: dict[str, object]
) -> None:
    async def edited() -> float:
        form = {name: str(value) for name, value in slow.items()}
        await busy.post("/v1/images/edits", data=form, files={"image": small_png()})
        return 0.0

    made = await counted(busy, "image_count_total")
    first = asyncio.create_task(generated(busy, slow | LONGER))
    await until_present(busy, 1)
    second = asyncio.create_task(edited())
    await until_present(busy, 2)
    await leave(second)
    await first
    await until_present(busy, 0)
    assert await counted(busy, "image_count_total") == made + 2


async def test_the_metrics_count_completed_requests(busy: httpx.AsyncClient, slow: dict[str, object]) -> None:
    families = (
        "image_count_total",
        "num_inference_steps_sum",
        "image_pixels_sum",
        "e2e_request_latency_s_count",
    )
    before = [await counted(busy, family) for family in families]
    stopped = await counted(busy, "requests_success_total", 'finished_reason="stop"')
    await generated(busy, slow | {"num_inference_steps": 3, "n": 2})
    after = [await counted(busy, family) for family in families]
    assert [new - old for old, new in zip(before, after, strict=True)] == [2, 3, 2 * 4096, 1]
    assert await counted(busy, "requests_success_total", 'finished_reason="stop"') == stopped + 1
    assert await counted(busy, "peak_memory_mb", 'stage="0"') > 0
    assert await present(busy) == 0


async def test_the_metrics_count_failed_requests(busy: httpx.AsyncClient, slow: dict[str, object]) -> None:
    before = await counted(busy, "requests_failed_total", 'reason="stage_error"')
    aborted = await counted(busy, "requests_success_total", 'finished_reason="abort"')
    refused = await busy.post("/v1/images/generations", json=slow | {"n": 11})
    failed = await busy.post("/v1/images/generations", json=slow | {"generator_device": "bogus"})
    assert (refused.status_code, failed.status_code) == (400, 500)
    assert await counted(busy, "requests_failed_total", 'reason="stage_error"') == before + 1
    assert await counted(busy, "requests_success_total", 'finished_reason="abort"') == aborted + 1


async def test_the_metrics_are_prometheus_text(busy: httpx.AsyncClient) -> None:
    response = await busy.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    lines = response.text.splitlines()
    kinds = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE vllm_omni:")}
    assert kinds["vllm_omni:num_requests_running"] == "gauge"
    assert kinds["vllm_omni:num_requests_waiting"] == "gauge"
    assert kinds["vllm_omni:peak_memory_mb"] == "gauge"
    assert kinds["vllm_omni:image_count_total"] == "counter"
    assert kinds["vllm_omni:e2e_request_latency_s"] == "histogram"
