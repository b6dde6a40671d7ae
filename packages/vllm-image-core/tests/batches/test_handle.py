"""A batch from its caller's side: started, awaited, retried and cancelled."""

import asyncio
import gc
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.item_states import Progress
from vllm_image_core.batches.items import Failed
from vllm_image_core.errors import BatchMoved, InvalidRequest
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_a_batch_runs_even_if_nobody_reads_it(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(5))
        assert await batch.wait()
        assert batch.progress == Progress(total=5, waiting=0, running=0, done=5, failed=0, cancelled=0)
    assert len(list(tmp_path.glob("*.png"))) == 5


async def test_a_studio_does_not_keep_ended_batches_in_memory(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:

        async def run_one() -> weakref.ref[ImageBatch]:
            batch = await studio.batch(requests(2))
            await batch.wait()
            return weakref.ref(batch)

        ended = [await run_one() for _ in range(3)]
        gc.collect()
        assert sum(each() is not None for each in ended) <= 1
        assert len(await studio.batches()) == 3


async def test_nothing_happens_before_a_batch_is_awaited_entered_or_read(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path / "new") as studio:
        batch = studio.batch(requests(2))
        assert (batch.over, batch.requests, batch.concurrency) == (False, (), 0)
        assert not (tmp_path / "new").exists()
        assert sorted([outcome.index async for outcome in batch]) == [0, 1]


async def test_failed_requests_are_tried_again_on_request(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: BadReply("junk") if prompt == "fox 1" and times < 1 else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        await batch.wait()
        assert (batch.progress.done, batch.progress.failed) == (2, 1)
        assert await batch.retry_failed() == 1
        assert await batch.wait()
        assert (batch.progress.done, batch.progress.failed) == (3, 0)
        assert len(batch.requests) == 3
    assert batch_server.sent == ["fox 0", "fox 1", "fox 2", "fox 1"]


async def test_failed_requests_of_a_running_batch_can_be_tried_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: BadReply("junk") if prompt == "fox 0" and times < 1 else None
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        outcomes = aiter(batch)
        assert isinstance(await anext(outcomes), Failed)
        batch_server.gate.clear()
        await batch_server.came(2)
        assert await batch.retry_failed() == 1
        batch_server.gate.set()
        assert sorted([outcome.index async for outcome in outcomes]) == [0, 1, 2]
        assert batch.progress.done == 3


@pytest.mark.parametrize("moment", ["before", "queued", "in flight", "after", "twice"])
async def test_p04_each_request_ends_in_one_state_whenever_it_is_cancelled(
    batch_server: "BatchServer", tmp_path: Path, moment: str
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(4), max_concurrent=2)
        if moment == "before":
            await batch.cancel()
            assert (batch.over, batch_server.sent) == (False, [])
            return
        if moment in {"in flight", "twice"}:
            batch_server.gate.clear()
        await batch
        if moment == "in flight":
            await batch_server.came(2)
        if moment == "after":
            await batch.wait()
        first = await batch.cancel()
        second = await batch.cancel()
        found = await studio.find_batch(batch.id)
        states = [item.state for item in found.items]
    assert first == second
    assert first.done + first.failed + first.cancelled == 4
    assert [states.count(state) for state in ("done", "cancelled")] == [first.done, first.cancelled]
    assert found.state == ("done" if moment == "after" else "cancelled")
    assert batch.running_at_cancel == (2 if moment == "in flight" else batch.running_at_cancel)
    assert batch_server.at_once == 0
    assert len(list(tmp_path.glob("*.png"))) == first.done


async def test_p04_an_image_that_is_being_saved_during_a_cancel_is_done(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        saving, loop, save = asyncio.Event(), asyncio.get_running_loop(), studio._library._store.save

        def told_save(*values: object, **options: object) -> Path:
            loop.call_soon_threadsafe(saving.set)
            return save(*values, **options)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(studio._library._store, "save", told_save)
        batch = await studio.batch(requests(3), max_concurrent=1)
        await saving.wait()
        progress = await batch.cancel()
        found = await studio.find_batch(batch.id)
    assert progress.done >= 1
    assert progress.done + progress.cancelled == 3
    assert [item.state for item in found.items].count("done") == progress.done
    assert len(list(tmp_path.glob("*.png"))) == progress.done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a POSIX system's fork")
async def test_p08_a_batch_used_after_a_fork_says_so(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(requests(1))
        batch._process = os.getpid() + 1
        with pytest.raises(BatchMoved, match="another process"):
            await batch


def test_p08_a_batch_of_another_event_loop_says_so_and_can_be_resumed_by_its_id(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    kept = batch_server.studio(tmp_path, stale_seconds=1.0)

    async def begin() -> ImageBatch:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await kept.batch(requests(2))

    async def go_on(batch: ImageBatch) -> int:
        with pytest.raises(BatchMoved, match="another event loop"):
            await batch
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            again = await studio.resume(batch.id)
            await again.wait()
            return again.progress.done

    with ThreadPoolExecutor(1) as thread:  # with event loops of its own
        batch = thread.submit(lambda: asyncio.run(begin())).result(DEADLINE_SECONDS)
        assert thread.submit(lambda: asyncio.run(go_on(batch))).result(DEADLINE_SECONDS) == 2


async def test_a_closed_studio_starts_no_batch_and_fails_no_request(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        studio = batch_server.studio(tmp_path)
        batch = await studio.batch(requests(1))
        await batch.wait()
        await studio.aclose()
        for late in (studio.batch(requests(1)), studio.resume(batch.id)):
            with pytest.raises(InvalidRequest, match=r"^This studio is closed\."):
                await late
        assert [each.state for each in await studio.batches()] == ["done"]


async def test_forgotten_images_are_read_from_their_files(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
        before = {index: image.picture.bytes for index, image in batch.images.items()}
        batch.forget_images()
        assert batch._started.states.recent(0) is None
        assert {index: image.picture.bytes for index, image in batch.images.items()} == before
