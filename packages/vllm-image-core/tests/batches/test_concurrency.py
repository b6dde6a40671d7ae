"""How many images of a batch are in progress: the number that was given, even after a resume."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.batch_row import BatchRow
from vllm_image_core.batches.concurrency import Concurrency, ConcurrencyChooser
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.storage.database import Database
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import ServerUnreachable

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60
RECOMMENDED = 3
SET = 5


async def interrupted(server: "BatchServer", studio: Studio, *, asked: int | None) -> str:
    """A batch of five whose studio is closed while its first image is made."""
    server.gate.clear()
    async with studio:
        batch = await studio.batch(requests(5), max_concurrent=asked)
        await server.came(1)
    server.gate.set()
    server.most_at_once, server.company_seconds = 0, 0.05  # each waits a while for one beside it
    return batch.id


@pytest.mark.parametrize(
    ("asked", "first", "second", "again", "most"),
    [
        (1, None, None, None, 1),  # given for the batch
        (
            None,
            1,
            None,
            None,
            1,
        ),  # given by the first studio's settings: `batch --max-concurrent 1`
        (1, None, 2, None, 1),  # a studio's setting is for batches without a setting of their own
        (None, 1, 2, None, 2),
        (1, None, None, 3, 3),  # given on resume
        (None, None, 1, None, 1),
    ],
)
async def test_a_resumed_batch_has_as_many_requests_in_progress_as_it_was_given(
    batch_server: "BatchServer",
    tmp_path: Path,
    *,
    asked: int | None,
    first: int | None,
    second: int | None,
    again: int | None,
    most: int,
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(
            batch_server, Studio(batch_server, output_dir=tmp_path, max_concurrent=first), asked=asked
        )
        async with Studio(batch_server, output_dir=tmp_path, max_concurrent=second) as studio:
            batch = await studio.resume(name, max_concurrent=again)
            assert batch.concurrency == most
            await batch.wait()
            assert batch.progress.done == 5
    assert 1 <= batch_server.most_at_once <= most


async def test_the_concurrency_given_on_resume_is_kept_for_the_next_time(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, Studio(batch_server, output_dir=tmp_path), asked=1)
        batch_server.gate.clear()
        async with Studio(batch_server, output_dir=tmp_path) as studio:
            await studio.resume(name, max_concurrent=2)
        batch_server.gate.set()
        async with Studio(batch_server, output_dir=tmp_path) as studio:
            batch = await studio.resume(name)
            assert batch.concurrency == 2


async def test_without_a_given_concurrency_a_resumed_batch_follows_the_gpu_memory(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, Studio(batch_server, output_dir=tmp_path), asked=None)
        async with Studio(batch_server, output_dir=tmp_path) as studio:
            await studio.resume(name)
            assert studio._backend.ceiling == 1  # the plan's rule for an unknown card


async def test_a_batch_resumed_while_its_server_is_down_keeps_its_concurrency(tmp_path: Path) -> None:
    async def asked(number: int | None) -> int:
        raise ServerUnreachable(f"nobody answers for {number}")

    batch_row = batch_row_of(tmp_path, chosen=None)
    assert await ConcurrencyChooser(asked, is_set=False).for_resumed(None, batch_row) == Concurrency(
        number=2, chosen=None, fixed=True
    )


async def test_a_wrong_number_is_refused_before_a_batch_is_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, Studio(batch_server, output_dir=tmp_path), asked=1)
        async with Studio(batch_server, output_dir=tmp_path) as studio:
            with pytest.raises(InvalidRequest, match="max_concurrent"):
                await studio.resume(name, max_concurrent=0)
            assert (await studio.find_batch(name)).state == "interrupted"


def aged(folder: Path) -> None:
    """Turn a journal into one of the first version, which did not record where the concurrency came from."""
    with Database(folder, JOURNAL).open() as connection:
        for later in ("chosen", "pixels", "resumed", "resumed_images"):
            connection.execute(f"ALTER TABLE batch DROP COLUMN {later}")
        connection.execute("PRAGMA user_version = 1")


def as_it_is(_path: Path) -> None:
    """Leave the file alone."""


def damaged(path: Path) -> None:
    """Cut off the file's last page, on which no batch stands."""
    path.write_bytes(path.read_bytes()[:-4096])


@pytest.mark.parametrize("harm", [as_it_is, damaged])
async def test_a_batch_of_an_older_journal_can_be_resumed_even_after_damage(
    batch_server: "BatchServer", tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, Studio(batch_server, output_dir=tmp_path), asked=None)
        aged(tmp_path)
        with Database(tmp_path, replace(JOURNAL, migrations=JOURNAL.migrations[:1])).open() as connection:
            connection.execute("CREATE TABLE last_page (a)")
            connection.execute("INSERT INTO last_page VALUES (randomblob(4000))")
        harm(Journal(tmp_path).path)
        async with Studio(batch_server, output_dir=tmp_path) as studio:
            batch = await studio.resume(name)
            await batch.wait()
            assert batch.progress.done == 5
    assert (tmp_path / ".vllm-image" / "batches.damaged-1.sqlite3").exists() == (harm is damaged)


def batch_row_of(folder: Path, *, chosen: str | None) -> BatchRow:
    journal = Journal(folder)
    journal.write(
        lambda queries: queries.connection.execute(
            "INSERT INTO batch (id, created, fresh, at_once, chosen) VALUES ('batch_mine', 0, 0, 2, ?)",
            (chosen,),
        )
    )
    return journal.batch_row("batch_mine")
