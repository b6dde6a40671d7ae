"""What a batch reports while it runs."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.events import Event
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_events_report_each_step_in_order(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.fails = lambda prompt, _: BadReply("junk") if prompt == "fox 1" else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(2), max_concurrent=1)
        events = batch.events()
        await batch
        heard = [(event.kind, event.index) async for event in events]
    assert heard == [
        ("queued", 0),
        ("queued", 1),
        ("started", 0),
        ("done", 0),
        ("started", 1),
        ("failed", 1),
        ("ended", None),
    ]


async def test_p10_a_listener_that_raises_is_counted_and_does_no_harm(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    heard: list[str] = []

    def fails(event: Event) -> None:
        heard.append(event.kind)
        raise ZeroDivisionError("a listener's own")

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(2))
        batch.listen(fails)
        await batch
        await batch.wait()
    assert batch.progress.done == 2
    assert batch.listener_errors == len(heard) == 7


async def test_reading_events_starts_a_batch_that_was_not_started(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        heard = [event.kind async for event in studio.batch(requests(1)).events()]
        assert heard == ["queued", "started", "done", "ended"]
        with pytest.raises(InvalidRequest):
            await anext(studio.batch([ImageRequest(prompt="", width=64, height=64)]).events())


async def test_the_events_of_a_finished_batch_end_at_once(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(1))
        await batch.wait()
        assert [event async for event in batch.events()] == []
        batch_server.gate.clear()
        left = await studio.batch(requests(2))
        await left.cancel()
        assert [event async for event in left.events()] == []
        name = left.id
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        assert [event.kind async for event in studio.resume(name).events()] == ["ended"]
