"""The thread that writes outcomes and keeps the lease."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.batches.writer import JournalWriter
from vllm_image_core.errors import BatchInUse
from vllm_image_core.storage.database import Database

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_a_released_lease_is_not_taken_for_a_lost_one(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, names = JournalWriter.aclose, list[str]()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:

        async def closed_late(writer: JournalWriter) -> None:
            owner = "here"
            while owner is not None:
                owner = (await studio.find_batch(names[0])).owner
            await close(writer)

        monkeypatch.setattr(JournalWriter, "aclose", closed_late)
        batch = await studio.batch(requests(2))
        names.append(batch.id)
        assert len([outcome async for outcome in batch]) == 2
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_p11_an_owner_whose_batch_was_taken_over_stops_and_writes_nothing_more(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(2))
        await batch_server.came(1)
        with Database(tmp_path, JOURNAL).open() as connection:
            connection.execute("UPDATE batch SET owner = 'another'")
        with pytest.raises(BatchInUse):
            _ = [outcome async for outcome in batch]
        assert Journal(tmp_path).batch_row(batch.id).holder is not None
    assert batch_server.at_once == 0
