"""The outcomes of a batch, from memory, journal and files."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import forgotten, requests
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.errors import RecordedFailure
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_a_slow_reader_gets_every_outcome_with_its_image(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _: BadReply("junk") if prompt == "fox 3" else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(30), max_concurrent=1)
        await batch.wait()
        outcomes = [outcome async for outcome in batch]
        assert [outcome.index for outcome in outcomes] == list(range(30))
        for outcome in outcomes:
            if isinstance(outcome, Done):
                assert outcome.value.path.read_bytes() == outcome.value.picture.bytes
                assert outcome.value.request.prompt == outcome.item.prompt == f"fox {outcome.index}"
                assert outcome.value.receipt.lines
        assert [outcome.index for outcome in outcomes if isinstance(outcome, Failed)] == [3]
        assert [outcome.index async for outcome in batch] == []


async def test_results_are_in_request_order_even_after_a_resume(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(9), max_concurrent=4)
        assert [outcome.index async for outcome in batch.results()] == list(range(9))
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        again = studio.resume(batch.id)
        results = [outcome async for outcome in again.results()]
        assert [outcome.index for outcome in results if isinstance(outcome, Done)] == list(range(9))


async def test_an_image_that_was_removed_is_an_error_when_it_is_read(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(20), max_concurrent=1)
        await batch.wait()
        batch.images[0].path.unlink()
        first = await anext(aiter(batch))
    assert isinstance(first, Failed)
    assert isinstance(first.error, RecordedFailure)
    assert "can no longer be read" in first.error.message


@pytest.mark.parametrize("forgotten_by_the_journal", [False, True])
async def test_the_server_of_an_image_is_known_in_another_process_too(
    batch_server: "BatchServer", tmp_path: Path, *, forgotten_by_the_journal: bool
) -> None:
    other = type(batch_server)()
    other.base_url = "http://gpu:6656"
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with Studio([batch_server, other], output_dir=tmp_path) as studio:
            batch = await studio.batch(requests(4))
            first = {
                outcome.index: outcome.value.server async for outcome in batch if isinstance(outcome, Done)
            }
        if forgotten_by_the_journal:
            forgotten(tmp_path, 0, 1, 2, 3)
        async with Studio([batch_server, other], output_dir=tmp_path) as studio:
            results = (await studio.resume(batch.id)).results()
            again = {each.index: each.value.server async for each in results if isinstance(each, Done)}
    assert again == first
    assert set(first.values()) == {"http://gpu:6655", "http://gpu:6656"}
