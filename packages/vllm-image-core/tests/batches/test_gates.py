"""Waiting out an outage, and running alone."""

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from recorded_batches import paused, read, requests
from vllm_image_core.batches.gates import GateClosed, OutageGate, SharedExclusiveGate
from vllm_omni_client.errors import BadReply, OmniError, OutOfGpuMemory, ServerBusy, ServerUnreachable

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


class Thing:
    """A resource that is unavailable until a test brings it back."""

    def __init__(self, *, outage_seconds: float = 600.0) -> None:
        self.well = False
        self.probes: list[float] = []
        self.told: list[str | None] = []
        self.given_up = asyncio.Event()
        self.gate = OutageGate(
            self.probe,
            interval_seconds=0.02,
            outage_seconds=outage_seconds,
            on_change=self.told.append,
            on_give_up=lambda _reason: self.given_up.set(),
        )

    async def probe(self) -> bool:
        self.probes.append(asyncio.get_running_loop().time())
        return self.well


def unreachable() -> ServerUnreachable:
    return ServerUnreachable("http://gpu:6655 cannot be reached: refused", reason="refused")


async def test_all_callers_pass_while_the_gate_is_open() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        for _ in range(3):
            await thing.gate.enter()
    assert (thing.probes, thing.told) == ([], [])


async def test_one_caller_passes_as_a_trial_and_all_others_if_that_succeeds() -> None:
    thing, passed = Thing(), list[int]()

    async def go(number: int) -> None:
        await thing.gate.enter()
        passed.append(number)

    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = [asyncio.create_task(go(number)) for number in range(3)]
        while len(thing.probes) < 3:  # noqa: ASYNC110 - nothing tells of a probe but the count
            await asyncio.sleep(0)
        assert passed == []
        thing.well = True
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(passed) == 1
        thing.gate.record_success()
        await asyncio.wait(waiting)
    assert sorted(passed) == [0, 1, 2]
    assert thing.told == ["away", None]


async def test_the_resource_is_probed_no_more_often_than_allowed() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        while len(thing.probes) < 5:  # noqa: ASYNC110 - nothing tells of a probe but the count
            await asyncio.sleep(0)
        thing.gate.close()
    gaps = [later - earlier for earlier, later in zip(thing.probes, thing.probes[1:], strict=False)]
    assert min(gaps) >= 0.02 - 0.001


async def test_an_outage_that_lasts_too_long_is_given_up_and_the_callers_are_told() -> None:
    thing = Thing(outage_seconds=0.05)
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = asyncio.create_task(thing.gate.enter())
        await thing.given_up.wait()
        thing.gate.close()
        with pytest.raises(GateClosed):
            await waiting
        assert not await thing.gate.wait_until_available()


async def test_a_caller_that_only_waits_for_the_resource_continues_as_soon_as_it_is_back() -> None:
    thing = Thing()
    async with asyncio.timeout(DEADLINE_SECONDS):
        thing.gate.record_failure("away")
        waiting = asyncio.create_task(thing.gate.wait_until_available())
        thing.well = True
        assert await waiting
    assert thing.gate.is_available


async def test_an_exclusive_holder_waits_for_the_others_and_they_wait_for_it() -> None:
    turnstile, order = SharedExclusiveGate(), list[str]()

    async def alone() -> None:
        await turnstile.enter(alone=True)
        order.append("alone")

    async def beside(name: str) -> None:
        await turnstile.enter(alone=False)
        order.append(name)

    async with asyncio.timeout(DEADLINE_SECONDS):
        await beside("first")
        await beside("second")
        suspect = asyncio.create_task(alone())
        await asyncio.sleep(0)
        late = asyncio.create_task(beside("late"))
        await asyncio.sleep(0)
        turnstile.leave()
        await asyncio.sleep(0)
        assert order == ["first", "second"]
        turnstile.leave()
        await suspect
        assert not late.done()
        turnstile.leave()
        await late
    assert order == ["first", "second", "alone", "late"]


@pytest.mark.parametrize("error", [unreachable, lambda: ServerBusy("busy", status=503)])
async def test_a_short_outage_of_the_server_fails_no_request(
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


async def test_a_batch_that_waited_too_long_is_stopped_with_the_cause_and_can_be_resumed(
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


async def test_five_failures_of_the_same_kind_in_a_row_stop_the_batch_with_the_cause(
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


async def test_failures_of_different_kinds_or_with_successes_between_them_do_not_stop_the_batch(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    kinds = [BadReply("junk"), OutOfGpuMemory("out of memory", status=500), None, BadReply("junk")]
    batch_server.fails = lambda prompt, _times: kinds[int(prompt.split()[1]) % 4]
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(24), max_concurrent=1)
        assert len(await read(batch)) == 24
        assert (batch.progress.done, batch.progress.failed) == (6, 18)


async def test_a_full_disk_pauses_sending_until_there_is_space(
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


async def test_the_check_after_a_save_also_covers_the_next_image(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    usage = shutil.disk_usage

    def count(path: Path) -> object:
        nonlocal looks
        looks += 1
        return usage(path)

    monkeypatch.setattr("vllm_image_core.generation.generator._ROOM_SECONDS", 60.0)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(6), max_concurrent=1)
        monkeypatch.setattr(shutil, "disk_usage", count)
        assert await read(batch) == ["done"] * 6
    assert looks <= 7  # one before the first image, and one after each


@pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no folder with an open file")
async def test_a_batch_waits_for_a_folder_that_vanishes_and_loses_no_finished_image(
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
async def test_a_folder_that_was_removed_and_created_again_gets_its_journal_back(
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
