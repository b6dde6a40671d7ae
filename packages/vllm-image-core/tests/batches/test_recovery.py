"""Damaged journals: what can still be read is kept, and batches continue."""

import asyncio
import errno
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import journal_of, requests
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import UnknownBatch
from vllm_image_core.storage.database import DamagedDatabase, Database

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_p13_a_journal_cut_anywhere_opens_with_what_came_before(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    names = await journal_of(batch_server, tmp_path / "whole", 3)
    content = Journal(tmp_path / "whole").path.read_bytes()
    known: list[int] = []
    for place in range(0, len(content), max(1, len(content) // 60)):
        folder = tmp_path / f"cut-{place}"
        path = Journal(folder).path
        path.parent.mkdir(parents=True)
        path.write_bytes(content[:place])
        found = Journal(folder).batches(10)
        assert {each.id for each in found} <= set(names)
        known.append(len(found))
        for each in found:
            items = Journal(folder).read_batch(each.id, offset=0, limit=100).items
            assert [item.prompt for item in items] == [f"fox {item.position}" for item in items]
    assert known == sorted(known)
    assert known[-1] == 3
    assert known[len(known) // 2] == 3  # their rows lie at the beginning


async def test_p13_a_damaged_journal_is_kept_next_to_the_recovered_one(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    path = Journal(tmp_path).path
    whole = path.read_bytes()
    damaged = whole[: len(whole) // 2]
    path.write_bytes(damaged)
    async with batch_server.studio(tmp_path) as studio:
        assert {each.id for each in await studio.batches()} <= {name}
    assert path.with_name("batches.damaged-1.sqlite3").read_bytes() == damaged
    assert not list(path.parent.glob("*salvaged*"))


async def test_setting_a_damaged_journal_aside_is_reported(
    batch_server: "BatchServer", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await journal_of(batch_server, tmp_path, 1)
    (tmp_path / ".vllm-image" / "batches.sqlite3").write_bytes(b"no database" * 100)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        assert await studio.batches() == ()
    assert "It was set aside, and what can still be read of it is recovered." in caplog.text


async def test_nothing_else_is_left_next_to_a_repaired_journal_even_if_a_scanner_holds_each_file(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    folder = tmp_path / ".vllm-image"
    content = (folder / "batches.sqlite3").read_bytes()
    (folder / "batches.sqlite3").write_bytes(content[: len(content) // 2])
    remove, held = os.unlink, set[str]()

    def scanned(path: str | Path, **options: int | None) -> None:
        if Path(path).exists() and str(path) not in held:
            held.add(str(path))
            raise PermissionError(errno.EACCES, "it is being used by another process", str(path))
        remove(path, **options)

    monkeypatch.setattr(os, "unlink", scanned)  # emulated: Windows refuses while a file is open
    async with batch_server.studio(tmp_path) as studio:
        assert {each.id for each in await studio.batches()} <= {name}
    assert held
    assert not list(folder.glob("*salvaged*"))


def _leaves(path: Path, table: str) -> list[int]:
    """The places of a table's leaf pages in a journal."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        )
        return [(number - 1) * 4096 for (number,) in found]


async def _half_done(server: "BatchServer", folder: Path) -> str:
    """A batch of 30 long requests, some of which are done."""
    async with asyncio.timeout(DEADLINE_SECONDS), server.studio(folder) as studio:
        wanted = [replace(each, negative_prompt="blurred " * 100) for each in requests(30)]
        batch = await studio.batch(wanted, max_concurrent=1)
        await server.came(8)
        await batch.drain(5)
        return batch.id


@pytest.mark.parametrize("table", ["item", "outcome"])
async def test_a_batch_whose_journal_lost_a_page_ends_and_counts_each_request_once(
    batch_server: "BatchServer", tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = await _half_done(batch_server, tmp_path)
    saved = len(list(tmp_path.glob("*.png")))
    path = Journal(tmp_path).path
    content = bytearray(path.read_bytes())
    place = _leaves(path, table)[-1 if table == "item" else 0]
    content[place : place + 4096] = bytes(4096)
    path.write_bytes(content)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.resume(name)
        await batch.wait()
        assert batch.progress.total == 30
        assert batch.progress.done + batch.progress.failed == 30
        assert batch.progress.done >= saved
        found = await studio.find_batch(name, limit=100)
        errors = {item.error for item in found.items if item.state == "failed"}
        assert len(found.items) == 30
    if table == "item":
        assert found.state == "partial"
        assert errors == {"The journal of batches was damaged, and this request could not be read from it."}
        assert f"Requests that could not be read: {batch.progress.failed} of {name}." in caplog.text
    else:
        assert found.state == "done"
    assert len(batch_server.sent) == len(set(batch_server.sent)) == batch.progress.done
    assert (path.parent / "batches.damaged-1.sqlite3").read_bytes() == content
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        again = await studio.resume(name)
        await again.wait()
        assert again.progress == batch.progress
        assert await again.retry_failed() == 0


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE item SET request = 'no request' WHERE position = 3",
        "UPDATE item SET request = CAST(x'ff' AS TEXT) WHERE position = 3",
        "DELETE FROM item WHERE position = 3",
        "UPDATE item SET position = 1000000 WHERE position = 3",
    ],
)
async def test_an_impossible_request_is_lost_unless_its_image_exists(
    batch_server: "BatchServer", tmp_path: Path, damage: str
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    with Database(tmp_path, JOURNAL).open() as connection:
        connection.execute(damage)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.resume(name)
        await batch.wait()
        assert (batch.progress.done, batch.progress.total) == (20, 20)
        assert batch.images[3].request.prompt == "fox 3"
    assert len(batch_server.sent) == 20


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batch SET state = 'gone'",
        "UPDATE batch SET created = 'yesterday'",
        "UPDATE batch SET at_once = -3",
        "UPDATE batch SET recorded = 1000000000000",
        "UPDATE batch SET recorded = 3",
        "UPDATE batch SET seconds = 'long'",
        "UPDATE outcome SET state = 9 WHERE position = 5",
        "UPDATE outcome SET position = -5 WHERE position = 5",
        "UPDATE outcome SET told = '' WHERE position = 5",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = 123456",
        "PRAGMA application_id = 7",
    ],
)
async def test_a_journal_with_impossible_values_is_repaired_and_the_batch_is_complete(
    batch_server: "BatchServer", tmp_path: Path, damage: str
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    with Database(tmp_path, JOURNAL).open() as connection:
        connection.execute(damage)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        assert [each.id for each in await studio.batches()] == [name]
        batch = await studio.resume(name)
        await batch.wait()
        assert (batch.progress.done, batch.progress.total) == (20, 20)
        assert (await studio.find_batch(name, limit=100)).state == "done"
    assert len(batch_server.sent) == 20


async def test_a_journal_with_swapped_pages_is_detected_before_a_batch_is_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    name = await _half_done(batch_server, tmp_path)
    path = Journal(tmp_path).path
    content = bytearray(path.read_bytes())
    first, *_, last = _leaves(path, "item")
    content[first : first + 4096], content[last : last + 4096] = (
        content[last : last + 4096],
        content[first : first + 4096],
    )
    path.write_bytes(content)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.resume(name)
        await batch.wait()
        assert (batch.progress.done, batch.progress.total) == (30, 30)
    assert len(batch_server.sent) == len(set(batch_server.sent)) == 30


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no open file")
async def test_a_running_batch_continues_with_a_journal_that_another_process_has_repaired(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        await batch_server.came(1)
        status = Journal(tmp_path).path.stat()
        found = DamagedDatabase("It is damaged.", identity=(status.st_dev, status.st_ino))
        Journal(tmp_path).repair(found)
        batch_server.gate.set()
        await batch.wait()
        assert batch.progress.done == 3
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_an_unknown_batch_next_to_a_damaged_journal_says_where_that_is(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    (tmp_path / ".vllm-image" / "batches.sqlite3").write_bytes(b"no database" * 100)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        with pytest.raises(UnknownBatch) as caught:
            await studio.resume(name)
    assert "batches.damaged-1.sqlite3" in caught.value.__notes__[0]
