"""Batches that outlive their process: resumed, listed, cancelled and read, with the ids of the fault list."""

import asyncio
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.batches.eta import BatchEta
from vllm_image_core.batches.events import Event
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.batches.stored_items import ItemState
from vllm_image_core.batches.worker_pool import Done, Failed, Progress
from vllm_image_core.batches.writer import JournalWriter
from vllm_image_core.errors import (
    BatchInUse,
    BatchMoved,
    InvalidRequest,
    JournalUnavailable,
    RecordedFailure,
    UnknownBatch,
)
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.database import DamagedDatabase, Database
from vllm_image_core.storage.owner import this_process
from vllm_image_core.storage.record import facts_in
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60

HOLDS = """
import sys, time
from pathlib import Path
from vllm_image_core.batches.journal import Journal
from vllm_image_core.storage.owner import this_process
journal, token = Journal(Path(sys.argv[1])), "another"
def begin(ledger):
    number = ledger.create("batch_theirs", this_process(token), created=0, fresh=False, at_once=1)
    ledger.append(number, 0, ['{"prompt":"a fox","width":64,"height":64,"seed":7}'] * 3, "a fox")
    ledger.complete(number)
    return number
number = journal.write(begin)
print("held", flush=True)
from vllm_image_core.batches.queries import Counts
while True:
    journal.write(lambda ledger: ledger.renew_lease(number, token, Counts()))
    time.sleep(0.05)
"""


def requests(count: int) -> list[ImageRequest]:
    return [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(count)]


def studio_of(server: "BatchServer", folder: Path, *, stale_seconds: float = 15.0) -> Studio:
    studio = Studio(server, output_dir=folder)
    batches = studio._batches
    batches._context = replace(batches._context, heartbeat_seconds=0.2, stale_seconds=stale_seconds)
    return studio


async def killed(studio: Studio) -> None:
    """Leave a studio's batches as `kill -9` does: the lease is not given back, and its process is dead."""
    for batch in studio._batches._batches.values():
        run = batch._running
        assert run is not None
        assert run._working is not None
        run.stop_reason = "lost"
        run._working.cancel()
        await run.over.wait()
    database = Database(studio.output_dir, JOURNAL)
    with database.open() as connection:
        connection.execute(
            "UPDATE batch SET place = ?, pid = ?", (this_process("").pid_namespace, _dead_pid())
        )


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(DEADLINE_SECONDS)
    return child.pid


def forgotten(folder: Path, *positions: int) -> None:
    """Take outcomes out of the journal, as if the process had died before it wrote them."""
    with Database(folder, JOURNAL).open() as connection:
        for position in positions:
            connection.execute("DELETE FROM outcome WHERE position = ?", (position,))


async def test_a_batch_goes_on_when_nobody_reads_it(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(5))
        assert await batch.wait()
        assert batch.progress == Progress(total=5, waiting=0, running=0, done=5, failed=0, cancelled=0)
    assert len(list(tmp_path.glob("*.png"))) == 5


async def test_nothing_happens_before_a_batch_is_awaited_entered_or_read(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path / "new") as studio:
        batch = studio.batch(requests(2))
        assert (batch.over, batch.requests, batch.at_once) == (False, (), 0)
        assert not (tmp_path / "new").exists()
        assert sorted([outcome.index async for outcome in batch]) == [0, 1]


async def test_the_requests_are_in_the_journal_before_the_first_is_sent(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3))
        assert batch_server.sent == []
        found = await studio.find_batch(batch.id)
        assert [item.prompt for item in found.items] == ["fox 0", "fox 1", "fox 2"]
        assert [item.seed for item in found.items] == [request.seed for request in batch.requests]
        assert (found.state, found.owner, found.total) == ("running", "here", 3)


async def test_a_picture_tells_its_batch_and_its_position(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
    told = [facts_in(path.read_bytes()) for path in tmp_path.glob("*.png")]
    assert sorted((each["position"], each["batch"]) for each in told) == [(n, batch.id) for n in range(3)]


async def test_p03_what_is_done_is_not_made_again_and_seeds_stay(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        studio = studio_of(batch_server, tmp_path)
        batch = await studio.batch(requests(6), max_concurrent=2)
        async for outcome in batch:
            if outcome.index >= 2:
                batch_server.gate.clear()
                break
        await batch_server.came(len(batch.images) + 2)
        await killed(studio)
        batch_server.gate.set()
        done, sent = set(batch.images), list(batch_server.sent)
        other = studio_of(batch_server, tmp_path)
        again = await other.resume(batch.id)
        assert {outcome.index async for outcome in again} == set(range(6)) - done
        assert (await other.find_batch(batch.id)).state == "done"
        await other.aclose()
    assert not {f"fox {index}" for index in done} & set(batch_server.sent[len(sent) :])
    assert len(batch_server.sent) - 6 <= 2
    assert all(len(set(seeds)) == 1 for seeds in batch_server.seeds.values())
    assert len(list(tmp_path.glob("*.png"))) == 6


async def test_p03_a_picture_that_the_journal_does_not_know_is_found_in_the_folder(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(4))
            await batch.wait()
        forgotten(tmp_path, 1, 2)
        (tmp_path / ".vllm-image" / "index.sqlite3").unlink()
        async with studio_of(batch_server, tmp_path) as studio:
            again = await studio.resume(batch.id)
            outcomes = [outcome async for outcome in again]
            assert [outcome.index for outcome in outcomes] == [1, 2]
            assert [outcome.value.reused for outcome in outcomes if isinstance(outcome, Done)] == [False] * 2
            assert again.progress.done == 4
    assert len(batch_server.sent) == 4


@pytest.mark.parametrize("harm", ["removed", "cut"])
async def test_a_picture_that_is_not_whole_any_more_is_made_again(
    batch_server: "BatchServer", tmp_path: Path, harm: str
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
        lost = batch.images[1].path
        lost.write_bytes(lost.read_bytes()[:-5]) if harm == "cut" else lost.unlink()
        again = await studio.resume(batch.id)
        assert [outcome.index async for outcome in again] == [1]
    assert batch_server.sent == ["fox 0", "fox 1", "fox 2", "fox 1"]


async def test_equal_requests_that_are_made_anew_are_told_apart_by_their_position(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    same = [ImageRequest(prompt="a fox", width=64, height=64, seed=7)] * 3
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(same, fresh=True, max_concurrent=1)
        await batch.wait()
        await batch.close()
        forgotten(tmp_path, 1)
        next(path for path in tmp_path.glob("*.png") if facts_in(path.read_bytes())["position"] == 1).unlink()
        again = await studio.resume(batch.id)
        assert [outcome.index async for outcome in again] == [1]
    assert len(batch_server.sent) == 4


async def test_a_batch_of_a_closed_studio_is_interrupted_and_can_be_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(3))
            await batch_server.came(1)
        async with studio_of(batch_server, tmp_path) as studio:
            found = await studio.find_batch(batch.id)
            assert (found.state, found.waiting, found.owner) == ("interrupted", 3, None)
            batch_server.gate.set()
            again = await studio.resume(batch.id)
            assert len([outcome async for outcome in again]) == 3


async def test_a_batch_that_is_closed_at_its_last_picture_is_told_as_done(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(2))
        async for _ in batch:
            if batch.progress.done == 2:
                break
        await batch.close()
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_a_lease_that_was_given_back_is_not_taken_for_a_lost_one(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, names = JournalWriter.aclose, list[str]()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:

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


async def test_requests_of_an_iterator_are_recorded_ahead_and_the_first_is_sent_at_once(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    may_go_on = asyncio.Event()

    async def slow() -> AsyncIterator[ImageRequest]:
        yield requests(1)[0]
        await may_go_on.wait()
        for request in requests(4)[1:]:
            yield request

    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(slow())
        outcomes = aiter(batch)
        assert (await anext(outcomes)).index == 0
        assert batch.progress.total is None
        may_go_on.set()
        assert sorted([outcome.index async for outcome in outcomes]) == [1, 2, 3]
        assert (batch.progress.total, batch.progress.done) == (4, 4)


async def test_a_request_of_an_iterator_that_does_not_fit_fails_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    some = [requests(1)[0], ImageRequest(prompt="", width=64), *requests(3)[1:]]
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(iter(some))
        outcomes = {outcome.index: outcome async for outcome in batch}
    assert [isinstance(outcomes[index], Done) for index in range(4)] == [True, False, True, True]
    failed = outcomes[1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRequest)


async def test_an_error_of_the_iterator_ends_the_batch_and_is_raised_to_its_reader(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def some() -> Iterator[ImageRequest]:
        yield requests(1)[0]
        raise ZeroDivisionError("a bug of the caller")

    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(some())
        with pytest.raises(ZeroDivisionError, match="a bug of the caller"):
            _ = [outcome async for outcome in batch]
        assert batch.over


async def test_a_reader_who_is_behind_gets_every_outcome_with_its_picture(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _: BadReply("junk") if prompt == "fox 3" else None
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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


async def test_results_come_in_the_order_of_the_requests_also_after_a_resumption(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(requests(9), max_concurrent=4)
        assert [outcome.index async for outcome in batch.results()] == list(range(9))
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        again = studio.resume(batch.id)
        results = [outcome async for outcome in again.results()]
        assert [outcome.index for outcome in results if isinstance(outcome, Done)] == list(range(9))


async def test_a_picture_that_was_removed_since_is_told_when_it_is_read(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(20), max_concurrent=1)
        await batch.wait()
        batch.images[0].path.unlink()
        first = await anext(aiter(batch))
    assert isinstance(first, Failed)
    assert isinstance(first.error, RecordedFailure)
    assert "can no longer be read" in first.error.message


async def test_failed_requests_are_made_once_more_when_that_is_asked_for(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: BadReply("junk") if prompt == "fox 1" and times < 1 else None
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        await batch.wait()
        assert (batch.progress.done, batch.progress.failed) == (2, 1)
        assert await batch.retry_failed() == 1
        assert await batch.wait()
        assert (batch.progress.done, batch.progress.failed) == (3, 0)
        assert len(batch.requests) == 3
    assert batch_server.sent == ["fox 0", "fox 1", "fox 2", "fox 1"]


async def test_failed_requests_of_a_running_batch_are_made_once_more_in_it(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, times: BadReply("junk") if prompt == "fox 0" and times < 1 else None
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        outcomes = aiter(batch)
        assert isinstance(await anext(outcomes), Failed)
        batch_server.gate.clear()
        await batch_server.came(2)
        assert await batch.retry_failed() == 1
        batch_server.gate.set()
        assert sorted([outcome.index async for outcome in outcomes]) == [0, 1, 2]
        assert batch.progress.done == 3


async def test_events_tell_each_step_in_its_order(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.fails = lambda prompt, _: BadReply("junk") if prompt == "fox 1" else None
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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


async def test_the_end_of_a_batch_is_told_from_its_own_pictures(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    seconds = iter(range(1_000))
    studio = Studio(batch_server, output_dir=tmp_path, timer=lambda: float(next(seconds)))
    async with asyncio.timeout(DEADLINE_SECONDS), studio:
        batch = studio.batch(requests(4), max_concurrent=1)
        assert batch.eta.seconds is None
        await anext(aiter(batch))
        await batch.wait()
        assert batch.eta.seconds == 0.0


async def test_the_newest_batches_are_listed_first_whoever_made_them(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    names: list[str] = []
    for count in (1, 2, 3):
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(count))
            await batch.wait()
            names.append(batch.id)
    async with studio_of(batch_server, tmp_path) as studio:
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
async def test_p04_an_unknown_id_is_refused_and_makes_nothing(
    batch_server: "BatchServer", tmp_path: Path, name: str
) -> None:
    async with studio_of(batch_server, tmp_path / "new") as studio:
        for refused in (studio.find_batch(name), studio.cancel_batch(name), _begun(studio, name)):
            with pytest.raises(UnknownBatch):
                await refused
        assert await studio.batches() == ()
    assert not (tmp_path / "new").exists()


async def _begun(studio: Studio, name: str) -> None:
    await studio.resume(name)


@pytest.mark.parametrize("moment", ["before", "queued", "in flight", "after", "twice"])
async def test_p04_each_request_ends_in_one_state_whenever_the_cancel_comes(
    batch_server: "BatchServer", tmp_path: Path, moment: str
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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


async def test_p04_a_picture_that_is_being_saved_when_the_cancel_comes_is_done(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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


async def test_p04_a_cancelled_batch_is_over_for_good(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.cancel()
    batch_server.gate.set()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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
        studio_of(batch_server, tmp_path) as mine,
        studio_of(batch_server, tmp_path) as other,
    ):
        batch = await mine.batch(requests(3), max_concurrent=2)
        await batch_server.came(2)
        found = await other.cancel_batch(batch.id)
        assert (found.state, found.cancelled, found.left_running) == ("cancelled", 3, 2)
        assert batch.cancelled


async def test_an_abandoned_batch_is_cancelled_without_its_process(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(3))
        async with studio_of(batch_server, tmp_path) as studio:
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
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(2))
            await batch.wait()
            names.append(batch.id)
            assert [each.id for each in await studio.batches()] == names[::-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a POSIX system's fork")
async def test_p08_a_batch_that_came_here_by_a_fork_says_so(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(requests(1))
        batch._process = os.getpid() + 1
        with pytest.raises(BatchMoved, match="another process"):
            await batch


def test_p08_a_batch_of_another_event_loop_says_so_and_can_be_resumed_by_its_id(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    kept = studio_of(batch_server, tmp_path, stale_seconds=1.0)

    async def begin() -> ImageBatch:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await kept.batch(requests(2))

    async def go_on(batch: ImageBatch) -> int:
        with pytest.raises(BatchMoved, match="another event loop"):
            await batch
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
            again = await studio.resume(batch.id)
            await again.wait()
            return again.progress.done

    with ThreadPoolExecutor(1) as thread:  # with event loops of its own
        batch = thread.submit(lambda: asyncio.run(begin())).result(DEADLINE_SECONDS)
        assert thread.submit(lambda: asyncio.run(go_on(batch))).result(DEADLINE_SECONDS) == 2


async def test_p09_a_cancellation_inside_of_a_save_leaves_no_half_file_and_loses_none(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    for _ in range(5):
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(4), max_concurrent=4)
            await anext(aiter(batch))
            await batch.close()
            found = await studio.find_batch(batch.id)
            done = {item.path for item in found.items if item.state == "done"}
        mine = {path for path in tmp_path.glob("*.png") if facts_in(path.read_bytes())["batch"] == batch.id}
        assert mine == done


async def test_p10_a_listener_that_raises_is_counted_and_harms_nothing(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    heard: list[str] = []

    def fails(event: Event) -> None:
        heard.append(event.kind)
        raise ZeroDivisionError("a listener's own")

    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(requests(2))
        batch.listen(fails)
        await batch
        await batch.wait()
    assert batch.progress.done == 2
    assert batch.listener_errors == len(heard) == 7


def _holder_of(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)


async def test_p11_a_second_process_on_one_batch_is_told_who_works_on_it(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    child = _holder_of(tmp_path)
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "held\n"
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
            with pytest.raises(BatchInUse) as caught:
                await studio.resume("batch_theirs")
            assert caught.value.pid == child.pid
            assert (await studio.batches())[0].owner == "elsewhere"
            child.send_signal(signal.SIGKILL)
            child.wait(DEADLINE_SECONDS)
            again = await studio.resume("batch_theirs")
            assert len([outcome async for outcome in again]) == 3
    finally:
        child.kill()
        child.communicate()


async def test_p11_an_owner_elsewhere_whose_counter_stands_still_is_taken_over(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with studio_of(batch_server, tmp_path) as studio:
            batch = await studio.batch(requests(2))
            await batch.wait()
        forgotten(tmp_path, 0, 1)
        with Database(tmp_path, JOURNAL).open() as connection:
            connection.execute("UPDATE batch SET owner = 'gone', place = 'elsewhere', state = 'open'")
        async with studio_of(batch_server, tmp_path, stale_seconds=0.5) as studio:
            again = await studio.resume(batch.id)
            assert len([outcome async for outcome in again]) == 2


async def test_p11_an_owner_that_was_taken_over_stops_and_writes_nothing_more(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(2))
        await batch_server.came(1)
        with Database(tmp_path, JOURNAL).open() as connection:
            connection.execute("UPDATE batch SET owner = 'another'")
        with pytest.raises(BatchInUse):
            _ = [outcome async for outcome in batch]
        assert Journal(tmp_path).batch_row(batch.id).holder is not None
    assert batch_server.at_once == 0


async def test_p12_memory_descriptors_and_tasks_stay_as_they_are_however_many_pictures_are_made(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def now() -> tuple[int, int, int]:
        descriptors = Path("/proc/self/fd")
        count = len(list(descriptors.iterdir())) if descriptors.exists() else 0
        gc.collect()
        return tracemalloc.get_traced_memory()[0], count, len(asyncio.all_tasks())

    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = studio.batch(iter(requests(300)), max_concurrent=2)
        seen: list[tuple[int, int, int]] = []
        tracemalloc.start()
        try:
            async for _ in batch:
                batch_server.sent.clear()
                batch_server.seeds.clear()
                if len(batch.images) % 100 == 0:
                    seen.append(now())
        finally:
            tracemalloc.stop()
        await batch.wait()
        assert batch._started is not None
        assert not batch._started.states.unwritten
    (early, descriptors, tasks), (late, later_descriptors, later_tasks) = seen[0], seen[-1]
    assert late - early < 300_000
    assert later_descriptors <= descriptors + 2
    assert later_tasks <= tasks + 1


async def _journal_of(server: "BatchServer", folder: Path, batches: int) -> list[str]:
    names: list[str] = []
    for _ in range(batches):
        async with asyncio.timeout(DEADLINE_SECONDS), studio_of(server, folder) as studio:
            batch = await studio.batch(requests(20))
            await batch.wait()
            names.append(batch.id)
    return names


async def test_p13_a_journal_that_was_cut_anywhere_opens_with_what_came_before(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    names = await _journal_of(batch_server, tmp_path / "whole", 3)
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


async def test_p13_a_damaged_journal_is_kept_beside_the_one_that_was_saved_from_it(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await _journal_of(batch_server, tmp_path, 1)
    path = Journal(tmp_path).path
    whole = path.read_bytes()
    damaged = whole[: len(whole) // 2]
    path.write_bytes(damaged)
    async with studio_of(batch_server, tmp_path) as studio:
        assert {each.id for each in await studio.batches()} <= {name}
    assert path.with_name("batches.damaged-1.sqlite3").read_bytes() == damaged
    assert not list(path.parent.glob("*salvaged*"))


async def test_p14_an_older_journal_is_brought_up_to_date_and_a_newer_one_refused_and_left_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await _journal_of(batch_server, tmp_path, 1)
    later = replace(
        JOURNAL, migrations=(*JOURNAL.migrations, ("ALTER TABLE batch ADD COLUMN stars INTEGER",))
    )
    with Database(tmp_path, later).open() as connection:
        assert connection.execute("SELECT id, stars FROM batch").fetchall() == [(name, None)]
    before = Journal(tmp_path).path.read_bytes()
    async with studio_of(batch_server, tmp_path) as studio:
        with pytest.raises(JournalUnavailable, match="is 3, while this one supports 2"):
            await studio.batches()
        with pytest.raises(JournalUnavailable, match="newer version"):
            await studio.batch(requests(1))
    assert Journal(tmp_path).path.read_bytes() == before


def test_numbers_of_states_in_journals_never_change_their_meaning() -> None:
    assert {state.name: int(state) for state in ItemState} == {"WAITING": 0, "DONE": 1, "FAILED": 2}


@pytest.mark.parametrize("no_source", ["a fox", b"a fox", None, 7, ImageRequest(prompt="a fox")])
async def test_what_no_requests_come_from_is_refused_before_anything_is_recorded(
    batch_server: "BatchServer", tmp_path: Path, no_source: object
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        with pytest.raises(InvalidRequest, match=r"^A batch takes a list or an iterator of ImageRequest"):
            await studio.batch(no_source)  # type: ignore[arg-type]  # that is the fault
        assert await studio.batches() == ()


async def test_a_list_with_something_else_than_requests_is_refused_with_its_position(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    mixed = [*requests(2), "a fox"]
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        with pytest.raises(InvalidRequest, match=r"^Entry 2 of the batch, counted from 0, is 'a fox'"):
            await studio.batch(mixed)  # type: ignore[arg-type]  # that is the fault
        assert await studio.batches() == ()


async def test_an_iterator_of_something_else_stops_the_batch_and_what_came_before_is_made(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    mixed = [*requests(2), {"prompt": "a fox"}]
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(iter(mixed))  # type: ignore[arg-type]  # that is the fault
        with pytest.raises(InvalidRequest, match=r"^Entry 2 of the batch, counted from 0, is a dict"):
            [outcome async for outcome in batch]
        found = await studio.find_batch(batch.id)
        assert found.state == "stopped"
        assert "Entry 2" in (found.cause or "")


async def test_a_studio_that_is_closed_begins_no_batch_and_fails_no_request(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        studio = studio_of(batch_server, tmp_path)
        batch = await studio.batch(requests(1))
        await batch.wait()
        await studio.aclose()
        for late in (studio.batch(requests(1)), studio.resume(batch.id)):
            with pytest.raises(InvalidRequest, match=r"^This studio is closed\."):
                await late
        assert [each.state for each in await studio.batches()] == ["done"]


@pytest.mark.parametrize("forgotten_by_the_journal", [False, True])
async def test_who_made_a_picture_is_told_in_another_process_too(
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


async def test_a_batch_that_goes_on_knows_its_end_before_its_first_picture(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with studio_of(batch_server, tmp_path) as studio:
            batch_server.gate.clear()
            batch = await studio.batch(requests(600))
            whole = batch.eta.seconds
        async with studio_of(batch_server, tmp_path) as studio:
            await studio.model()
            again = await studio.resume(batch.id)
            left = again.eta.seconds
            batch_server.gate.set()
    assert whole is not None
    assert left == pytest.approx(whole, rel=0.01)


async def test_a_batch_that_is_cancelled_while_it_begins_is_given_back(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = asyncio.Event()

    async def for_ever(*_: object) -> None:
        counting.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        begun = await studio.batch(requests(2))
        await begun.close()
        batch = studio.resume(begun.id)
        with monkeypatch.context() as patch:
            patch.setattr(BatchEta, "add_waiting", for_ever)
            beginning = asyncio.ensure_future(batch.wait())
            await counting.wait()
            await batch.cancel()
            await asyncio.wait([beginning])
        assert (await studio.find_batch(batch.id)).state == "interrupted"
        again = await studio.resume(batch.id)
        await again.wait()
        assert again.progress.done == 2


async def test_a_damaged_journal_is_told_when_it_is_set_aside(
    batch_server: "BatchServer", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _journal_of(batch_server, tmp_path, 1)
    (tmp_path / ".vllm-image" / "batches.sqlite3").write_bytes(b"no database" * 100)
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        assert await studio.batches() == ()
    assert "It was set aside, and what can still be read of it is recovered." in caplog.text


async def test_reading_events_begins_a_batch_that_nobody_has_begun(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        heard = [event.kind async for event in studio.batch(requests(1)).events()]
        assert heard == ["queued", "started", "done", "ended"]
        with pytest.raises(InvalidRequest):
            await anext(studio.batch([ImageRequest(prompt="", width=64, height=64)]).events())


async def test_the_events_of_a_batch_that_is_over_end_at_once(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(1))
        await batch.wait()
        assert [event async for event in batch.events()] == []
        batch_server.gate.clear()
        left = await studio.batch(requests(2))
        await left.cancel()
        assert [event async for event in left.events()] == []
        name = left.id
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        assert [event.kind async for event in studio.resume(name).events()] == ["ended"]


def _leaves(path: Path, table: str) -> list[int]:
    """The places of a table's leaf pages in a journal."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        )
        return [(number - 1) * 4096 for (number,) in found]


async def _half_done(server: "BatchServer", folder: Path) -> str:
    """A batch of 30 long requests, of which some are made."""
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(server, folder) as studio:
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
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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
async def test_a_request_that_cannot_have_been_written_is_lost_unless_its_picture_is_there(
    batch_server: "BatchServer", tmp_path: Path, damage: str
) -> None:
    [name] = await _journal_of(batch_server, tmp_path, 1)
    with Database(tmp_path, JOURNAL).open() as connection:
        connection.execute(damage)
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
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
async def test_a_journal_with_values_that_were_never_written_is_repaired_and_the_batch_is_whole(
    batch_server: "BatchServer", tmp_path: Path, damage: str
) -> None:
    [name] = await _journal_of(batch_server, tmp_path, 1)
    with Database(tmp_path, JOURNAL).open() as connection:
        connection.execute(damage)
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        assert [each.id for each in await studio.batches()] == [name]
        batch = await studio.resume(name)
        await batch.wait()
        assert (batch.progress.done, batch.progress.total) == (20, 20)
        assert (await studio.find_batch(name, limit=100)).state == "done"
    assert len(batch_server.sent) == 20


async def test_a_journal_whose_pages_are_exchanged_is_noticed_before_a_batch_goes_on(
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
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.resume(name)
        await batch.wait()
        assert (batch.progress.done, batch.progress.total) == (30, 30)
    assert len(batch_server.sent) == len(set(batch_server.sent)) == 30


async def test_a_batch_at_work_goes_on_with_the_journal_that_another_process_has_repaired(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        batch = await studio.batch(requests(3), max_concurrent=1)
        await batch_server.came(1)
        status = Journal(tmp_path).path.stat()
        found = DamagedDatabase("It is damaged.", identity=(status.st_dev, status.st_ino))
        Journal(tmp_path).repair(found)
        batch_server.gate.set()
        await batch.wait()
        assert batch.progress.done == 3
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_an_unknown_batch_beside_a_damaged_journal_says_where_that_is(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await _journal_of(batch_server, tmp_path, 1)
    (tmp_path / ".vllm-image" / "batches.sqlite3").write_bytes(b"no database" * 100)
    async with asyncio.timeout(DEADLINE_SECONDS), studio_of(batch_server, tmp_path) as studio:
        with pytest.raises(UnknownBatch) as caught:
            await studio.resume(name)
    assert "batches.damaged-1.sqlite3" in caught.value.__notes__[0]
