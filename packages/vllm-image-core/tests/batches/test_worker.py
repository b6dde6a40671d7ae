"""One request of a batch, through crashes, broken connections and unwritable folders."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import paused, read, requests
from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import ConnectionLost, EngineDead

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 30


async def test_a_request_that_kills_the_engine_twice_is_set_aside_and_the_others_are_generated(
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


async def test_requests_that_ran_next_to_it_when_the_engine_died_are_not_blamed(
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


async def test_a_request_whose_connection_breaks_is_tried_once_more_if_the_server_is_healthy(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: (
        ConnectionLost("reset") if times < {"fox 0": 1, "fox 1": 9}.get(prompt, 0) else None
    )
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        assert await read(batch) == ["done", "ConnectionLost", "done"]
    assert [batch_server.sent.count(f"fox {number}") for number in range(3)] == [2, 2, 1]


async def test_an_image_that_the_folder_refuses_is_kept_until_it_is_saved(
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no folder with an open file")
async def test_an_image_that_nobody_waits_for_any_more_goes_to_the_spill_folder(
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
