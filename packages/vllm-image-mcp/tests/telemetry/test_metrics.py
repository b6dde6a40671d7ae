"""The metrics of a server count calls, images, GPU seconds, waits, reuse and errors by class."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_process import HttpServer, connected, content_of, text_of, write_users
from prometheus_client.parser import text_string_to_metric_families
from vllm_image_core.fleet.fair_queue import FairQueue
from vllm_image_mcp.telemetry.metrics import CONTENT_TYPE, Metrics

TOKENS = {"anna": "anna-3d1f6a0c9b7e", "bert": "bert-51ce28d7f0a4"}
SMALL = {"width": 64, "height": 64}


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples of a page by their names and the values of their labels."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tmp_path_factory.mktemp("images")
    file = write_users(
        folder.parent / "users.toml",
        {"anna": TOKENS["anna"]},
        f'[[user]]\nname = "bert"\ntoken = "{TOKENS["bert"]}"\nmetrics = true\nimages_per_hour = 3',
    )
    started = HttpServer("--users-file", str(file), folder=folder)
    yield started
    started.close()


def test_the_page_is_for_users_who_may_read_it(server: HttpServer) -> None:
    assert server.ask("GET", "/metrics")[0] == 401
    assert server.ask("GET", "/metrics", authorization=f"Bearer {TOKENS['anna']}")[0] == 404
    answer, page = server.exchange("GET", "/metrics", authorization=f"Bearer {TOKENS['bert']}")
    assert answer.status == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    assert not any(token.encode() in page for token in TOKENS.values())
    assert server.ask("POST", "/metrics", authorization=f"Bearer {TOKENS['bert']}")[0] == 405


async def test_calls_images_reuse_gpu_seconds_waits_and_errors_are_counted(server: HttpServer) -> None:
    once = {"prompt": "a fox", "seed": 7, **SMALL}
    async with connected(server.url, TOKENS["anna"]) as anna:
        for _ in range(2):
            content_of(await anna.call_tool("generate_image", once))
        assert (await anna.call_tool("get_batch", {"batch_id": "b-none"})).is_error
    async with connected(server.url, TOKENS["bert"]) as bert:
        content_of(await bert.call_tool("batch_generate", {"prompts": ["a", "b", "c"], **SMALL}))
        refused = text_of(await bert.call_tool("generate_image", {"prompt": "d", **SMALL}))
    assert re.search(
        r"The limit is 3 images an hour, with 3 already requested\. There will be room for 1 image at "
        r"\d\d:\d\d:\d\d UTC, in 6[01] minutes\. Wait until then\.",
        refused,
    )

    _, page = server.exchange("GET", "/metrics", authorization=f"Bearer {TOKENS['bert']}")
    found = samples(page)
    assert found["vllm_image_calls_total", "generate_image", "success", "anna"] == 2
    assert found["vllm_image_calls_total", "get_batch", "error", "anna"] == 1
    assert found["vllm_image_calls_total", "generate_image", "error", "bert"] == 1
    assert found["vllm_image_images_total", "generated", "anna"] == 1
    assert found["vllm_image_images_total", "reused", "anna"] == 1
    assert found["vllm_image_images_total", "generated", "bert"] == 3
    assert found["vllm_image_gpu_seconds_total", "bert"] > found["vllm_image_gpu_seconds_total", "anna"] > 0
    assert found["vllm_image_wait_seconds_count", "bert"] == 3
    assert found["vllm_image_errors_total", "UnknownBatch", "call"] == 1
    assert found["vllm_image_errors_total", "LimitReached", "call"] == 1
    assert found["vllm_image_call_seconds_count", "generate_image"] == 3
    assert found[("vllm_image_in_progress",)] == found[("vllm_image_waiting",)] == 0


def test_a_server_with_one_user_shows_its_metrics_to_whoever_may_connect(tmp_path: Path) -> None:
    server = HttpServer(folder=tmp_path)
    status, page = server.ask("GET", "/metrics")
    server.close()
    assert status == 200
    assert b"process_open_fds" in page or b"python_info" in page


async def test_the_queue_is_watched() -> None:
    metrics, queue = Metrics(), FairQueue(lambda: 1)
    metrics.watch(queue)
    flow = queue.flow("anna")
    async with queue.turn(flow, 1, low_priority=False):
        found = samples(metrics.page())
    assert found[("vllm_image_in_progress",)] == 1
    assert found["vllm_image_wait_seconds_count", "anna"] == 1


def test_an_image_that_failed_is_counted_with_the_class_of_its_error() -> None:
    metrics = Metrics()
    metrics.record_image("anna", "failed", error="OutOfGpuMemory")
    found = samples(metrics.page())
    assert found["vllm_image_images_total", "failed", "anna"] == 1
    assert found["vllm_image_errors_total", "OutOfGpuMemory", "image"] == 1
