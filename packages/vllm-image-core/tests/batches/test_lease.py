"""One process works on a batch; another takes over from a dead one."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import forgotten, requests
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import BatchInUse
from vllm_image_core.storage.database import Database

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
from vllm_image_core.batches.batch_row import Counts
while True:
    journal.write(lambda ledger: ledger.renew_lease(number, token, Counts()))
    time.sleep(0.05)
"""


def _holder_of(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)


async def test_p11_a_second_process_learns_who_works_on_a_batch(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    child = _holder_of(tmp_path)
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "held\n"
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            with pytest.raises(BatchInUse) as caught:
                await studio.resume("batch_theirs")
            assert caught.value.pid == child.pid
            assert (await studio.batches())[0].owner == "elsewhere"
            child.kill()
            child.wait(DEADLINE_SECONDS)
            again = await studio.resume("batch_theirs")
            assert len([outcome async for outcome in again]) == 3
    finally:
        child.kill()
        child.communicate()


async def test_p11_a_batch_whose_remote_owner_has_no_heartbeat_is_taken_over(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(2))
            await batch.wait()
        forgotten(tmp_path, 0, 1)
        with Database(tmp_path, JOURNAL).open() as connection:
            connection.execute("UPDATE batch SET owner = 'gone', place = 'elsewhere', state = 'open'")
        async with batch_server.studio(tmp_path, stale_seconds=0.5) as studio:
            again = await studio.resume(batch.id)
            assert len([outcome async for outcome in again]) == 2


async def test_a_live_batch_of_another_machine_with_the_same_name_is_not_taken_over(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = _holder_of(tmp_path)
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "held\n"
        with Database(tmp_path, JOURNAL).open() as connection:  # as seen from here: no such process
            connection.execute("UPDATE batch SET pid = 4194305")
        # Emulated: a Mac, whose identity is the ID of its boot session.
        monkeypatch.setattr("vllm_image_core.storage.owner.process_table", lambda: "another boot session")
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            with pytest.raises(BatchInUse):
                await studio.resume("batch_theirs")
    finally:
        child.kill()
        child.communicate()
