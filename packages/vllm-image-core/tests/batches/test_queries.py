"""The schema of the journal."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import journal_of, requests
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import JournalUnavailable
from vllm_image_core.storage.database import Database

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def test_p14_an_older_journal_is_migrated_and_a_newer_one_is_refused_and_left_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = await journal_of(batch_server, tmp_path, 1)
    later = replace(
        JOURNAL, migrations=(*JOURNAL.migrations, ("ALTER TABLE batch ADD COLUMN stars INTEGER",))
    )
    with Database(tmp_path, later).open() as connection:
        assert connection.execute("SELECT id, stars FROM batch").fetchall() == [(name, None)]
    before = Journal(tmp_path).path.read_bytes()
    async with batch_server.studio(tmp_path) as studio:
        with pytest.raises(JournalUnavailable, match="is 5, while this one supports 4"):
            await studio.batches()
        with pytest.raises(JournalUnavailable, match="newer version"):
            await studio.batch(requests(1))
    assert Journal(tmp_path).path.read_bytes() == before
