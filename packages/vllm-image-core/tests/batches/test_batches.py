"""The batches of a folder: listed, cancelled and refused by their ids."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.errors import UnknownBatch
from vllm_image_core.studio import Studio

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_the_newest_batches_are_listed_first_whoever_started_them(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    names: list[str] = []
    for count in (1, 2, 3):
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(count))
            await batch.wait()
            names.append(batch.id)
    async with batch_server.studio(tmp_path) as studio:
        listed = await studio.batches(limit=2)
        assert [(each.id, each.state, each.total) for each in listed] == [
            (names[2], "done", 3),
            (names[1], "done", 2),
        ]
        page = await studio.find_batch(names[2], limit=2)
        assert ([item.position for item in page.items], page.next_offset) == ([0, 1], 2)
        rest = await studio.find_batch(names[2], limit=2, offset=2)
        assert ([item.position for item in rest.items], rest.next_offset) == ([2], None)


@pytest.mark.parametrize("name", ["batch_0", "", "../..", "x" * 10_000])
async def test_p04_an_unknown_id_is_refused_and_generates_nothing(
    batch_server: "BatchServer", tmp_path: Path, name: str
) -> None:
    async with batch_server.studio(tmp_path / "new") as studio:
        for refused in (studio.find_batch(name), studio.cancel_batch(name), _begun(studio, name)):
            with pytest.raises(UnknownBatch):
                await refused
        assert await studio.batches() == ()
    assert not (tmp_path / "new").exists()


async def _begun(studio: Studio, name: str) -> None:
    await studio.resume(name)


async def test_p04_a_cancelled_batch_stays_cancelled(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.cancel()
    batch_server.gate.set()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        again = await studio.resume(batch.id)
        assert [outcome async for outcome in again] == []
        assert (again.over, again.cancelled, again.progress.cancelled) == (True, True, 3)
        assert (await studio.find_batch(batch.id)).state == "cancelled"


async def test_a_batch_is_cancelled_across_studios_by_its_id(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        batch_server.studio(tmp_path) as mine,
        batch_server.studio(tmp_path) as other,
    ):
        batch = await mine.batch(requests(3), max_concurrent=2)
        await batch_server.came(2)
        found = await other.cancel_batch(batch.id)
        assert (found.state, found.cancelled, found.left_running) == ("cancelled", 3, 2)
        assert batch.cancelled


async def test_an_abandoned_batch_can_be_cancelled_without_its_process(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(3))
        async with batch_server.studio(tmp_path) as studio:
            found = await studio.cancel_batch(batch.id)
            assert (found.state, found.cancelled) == ("cancelled", 3)


async def test_p07_a_clock_that_goes_back_changes_neither_order_nor_ids(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    names: list[str] = []
    for hour in range(3):
        back = (wall - timedelta(hours=hour)).timestamp()
        monkeypatch.setattr("vllm_image_core.batches.lease.time.time", lambda back=back: back)
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(2))
            await batch.wait()
            names.append(batch.id)
            assert [each.id for each in await studio.batches()] == names[::-1]
