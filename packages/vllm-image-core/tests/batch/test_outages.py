"""Batches whose server, folder or journal goes away, and comes back or does not."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.batches.events import Event
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.worker_pool import Done
from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import (
    BadReply,
    ConnectionLost,
    EngineDead,
    OmniError,
    OutOfGpuMemory,
    ServerBusy,
    ServerUnreachable,
)

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 30


def unreachable() -> ServerUnreachable:
    return ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")


def requests(count: int) -> list[ImageRequest]:
    return [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(count)]


async def paused(batch: ImageBatch) -> str:
    """Wait until a batch waits, and tell why."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(event: Event) -> None:
        if event.kind == "paused":
            heard.put_nowait(event.message or "")

    batch.listen(hear)
    return batch.cause or await heard.get()


async def read(batch: ImageBatch) -> list[str]:
    """The states of all outcomes, in the order of the requests."""
    outcomes = [outcome async for outcome in batch]
    return [
        "done" if isinstance(outcome, Done) else type(outcome.error).__name__
        for outcome in sorted(outcomes, key=lambda outcome: outcome.index)
    ]


@pytest.mark.parametrize("error", [unreachable, lambda: ServerBusy("busy", status=503)])
async def test_a_server_that_is_away_for_a_while_fails_no_request(
    batch_server: "BatchServer", tmp_path: Path, error: Callable[[], OmniError]
) -> None:
    away = True
    batch_server.fails = lambda _prompt, _times: error() if away else None
    batch_server.healthy = False
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(8), max_concurrent=2)
        reason = await paused(batch)
        while batch_server.asked < 3:  # noqa: ASYNC110 - nothing tells of a question but the count
            await asyncio.sleep(0)
        sent = len(batch_server.sent)
        away, batch_server.healthy = False, True
        assert await read(batch) == ["done"] * 8
    assert sent == 2
    assert len(batch_server.sent) == 10
    assert error().message in reason
    assert batch.cause is None


async def test_after_an_outage_one_request_is_tried_before_all_others(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def away(_prompt: str, _times: int) -> OmniError | None:
        return unreachable() if len(batch_server.sent) <= 12 else None

    batch_server.fails = away
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(4), max_concurrent=4)
        assert await read(batch) == ["done"] * 4
    assert len(batch_server.sent) == 4 + 8 + 4
    assert batch_server.asked <= 4 + 8


async def test_a_batch_whose_patience_is_over_is_stopped_with_the_cause_and_can_be_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _times: unreachable() if prompt != "fox 0" else None
    batch_server.healthy = False
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        batch_server.studio(tmp_path, outage_timeout=0.2) as studio,
    ):
        batch = await studio.batch(requests(3), max_concurrent=1)
        assert await read(batch) == ["done"]
        assert "Gave up after waiting" in (batch.cause or "")
        assert "s: http://gpu:6655 cannot be reached" in (batch.cause or "")
        found = await studio.find_batch(batch.id)
        assert (found.state, found.done, found.waiting, found.failed) == ("stopped", 1, 2, 0)
        batch_server.fails = lambda _prompt, _times: None
        batch_server.healthy = True
        again = await studio.resume(batch.id)
        assert await read(again) == ["done"] * 2
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_a_request_on_which_the_engine_dies_twice_is_set_aside_and_the_others_are_made(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _times: (
        EngineDead("EngineDeadError", status=500) if prompt == "fox 2" else None
    )
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(6), max_concurrent=3)
        assert await read(batch) == ["done", "done", "EngineDead", "done", "done", "done"]
        notes = batch.errors[2].__notes__
    assert "set aside because the engine died on it twice" in " ".join(notes)
    assert batch_server.sent.count("fox 2") == 2


async def test_requests_that_were_only_beside_it_when_the_engine_died_are_not_blamed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch_server.gate.clear()
        batch_server.fails = lambda prompt, times: (
            EngineDead("EngineDeadError", status=500) if times == 0 or prompt == "fox 0" else None
        )
        batch = await studio.batch(requests(4), max_concurrent=4)
        await batch_server.came(4)
        batch_server.most_at_once, batch_server.company_seconds = 0, 0.1
        batch_server.gate.set()
        assert await read(batch) == ["EngineDead", "done", "done", "done"]
    assert batch_server.sent.count("fox 0") == 2
    assert batch_server.most_at_once == 1


async def test_a_connection_that_breaks_while_the_server_is_well_is_tried_once_more(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: (
        ConnectionLost("reset") if times < {"fox 0": 1, "fox 1": 9}.get(prompt, 0) else None
    )
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        assert await read(batch) == ["done", "ConnectionLost", "done"]
    assert [batch_server.sent.count(f"fox {number}") for number in range(3)] == [2, 2, 1]


async def test_five_failures_of_one_kind_in_a_row_stop_the_batch_with_the_cause(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda _prompt, _times: BadReply("junk")
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(20), max_concurrent=1)
        assert await read(batch) == ["BadReply"] * 5
        found = await studio.find_batch(batch.id)
        assert (found.state, found.failed, found.waiting) == ("stopped", 5, 15)
        assert found.cause == "5 requests in a row failed in the same way: junk"
        batch_server.fails = lambda _prompt, _times: None
        again = await studio.resume(batch.id)
        assert await read(again) == ["done"] * 15
        assert await again.retry_failed() == 5
        assert await again.wait()
        assert (await studio.find_batch(batch.id)).state == "done"
    assert len(batch_server.sent) == 25


async def test_failures_of_different_kinds_or_with_a_success_between_them_stop_nothing(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    kinds = [BadReply("junk"), OutOfGpuMemory("out of memory", status=500), None, BadReply("junk")]
    batch_server.fails = lambda prompt, _times: kinds[int(prompt.split()[1]) % 4]
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(24), max_concurrent=1)
        assert len(await read(batch)) == 24
        assert (batch.progress.done, batch.progress.failed) == (6, 18)


async def test_a_disk_that_is_full_stops_the_sending_until_there_is_room(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10**12

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch_server.gate.clear()
        batch = await studio.batch(requests(6), max_concurrent=2)
        await batch_server.came(2)
        free = 100
        batch_server.gate.set()
        assert "Not enough space" in await paused(batch)
        assert len(batch_server.sent) == 2
        free = 10**12
        assert await read(batch) == ["done"] * 6
    assert len(batch_server.sent) == 6


async def test_a_picture_that_the_folder_does_not_take_is_kept_until_it_does(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        store = studio._library._store
        save, full = store.save, True

        def sometimes(picture: object, **options: object) -> Path:
            if full:
                raise PictureNotSaved("No space left on device (ENOSPC).", picture=picture)  # type: ignore[arg-type]  # passed on
            return save(picture, **options)  # type: ignore[arg-type]  # likewise

        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if full:
                raise PictureNotSaved("No space left on device (ENOSPC).", picture=None)  # type: ignore[arg-type]  # not looked at

        monkeypatch.setattr(store, "save", sometimes)
        monkeypatch.setattr(store, "check_writable", look)
        full = False
        batch = studio.batch(requests(3), max_concurrent=1)
        batch_server.gate.clear()
        await batch
        await batch_server.came(1)
        full = True
        batch_server.gate.set()
        assert "ENOSPC" in await paused(batch)
        seen = looks
        while looks < seen + 2:  # noqa: ASYNC110 - nothing tells of a look but the count
            await asyncio.sleep(0)
        assert len(batch_server.sent) == 1
        full = False
        assert await read(batch) == ["done"] * 3
        assert [image.spilled for image in batch.images.values()] == [False] * 3
    assert len(batch_server.sent) == 3
    assert len(list(tmp_path.glob("*.png"))) == 3


async def test_a_folder_that_vanishes_is_waited_for_and_nothing_that_is_paid_for_is_lost(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "pictures", tmp_path / "elsewhere"
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(folder) as studio:
        batch_server.gate.clear()
        batch = await studio.batch(requests(5), max_concurrent=2)
        await batch_server.came(2)
        folder.rename(elsewhere)
        batch_server.gate.set()
        assert "no longer there" in await paused(batch)
        assert len(batch_server.sent) == 2
        assert not folder.exists()
        elsewhere.rename(folder)
        assert await read(batch) == ["done"] * 5
    assert len(batch_server.sent) == 5
    assert len(list(folder.glob("*.png"))) == 5


async def test_a_folder_that_was_removed_and_made_anew_gets_its_journal_back(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(folder) as studio:
        batch_server.gate.clear()
        batch = await studio.batch(requests(5), max_concurrent=2)
        await batch_server.came(2)
        shutil.rmtree(folder)
        batch_server.gate.set()
        await paused(batch)
        folder.mkdir()
        assert await read(batch) == ["done"] * 5
        assert (await studio.find_batch(batch.id)).done == 5
    assert len(batch_server.sent) == len(list(folder.glob("*.png"))) == 5


async def test_a_picture_that_nobody_waits_for_any_longer_is_in_the_spill_folder(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    async with asyncio.timeout(DEADLINE_SECONDS):
        studio = Studio(batch_server, output_dir=folder, spill_dir=tmp_path / "spill", outage_timeout=0.1)
        async with studio:
            batch_server.gate.clear()
            batch = await studio.batch(requests(3), max_concurrent=1)
            await batch_server.came(1)
            folder.rename(tmp_path / "elsewhere")
            folder.write_text("in the way")
            batch_server.gate.set()
            assert await batch.wait()
            assert batch.progress.done == 1
    assert len(list((tmp_path / "spill").glob("*.png"))) == 1
    assert len(batch_server.sent) == 1
