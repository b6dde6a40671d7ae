"""Copies of input images are removed when no batch needs them."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from recorded_edits import FOX, MASK, OWL, copies, edit, interrupted
from vllm_image_core.batches.input_cleanup import GRACE_SECONDS
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.input_store import inputs_folder

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


def named(*pictures: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}


def aged(folder: Path) -> None:
    """Make all copies old enough to be removed."""
    for path in inputs_folder(folder).iterdir():
        old = path.stat().st_mtime - GRACE_SECONDS - 1
        os.utime(path, (old, old))


async def test_old_copies_are_removed_when_no_batch_needs_them(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        waiting = await interrupted(batch_server, tmp_path, edit("waits", images=MASK))
        async with batch_server.studio(tmp_path) as studio:
            await (await studio.batch([edit("done")])).wait()
            assert copies(tmp_path) == named(FOX, MASK)
            aged(tmp_path)
            await (await studio.batch([edit("later", images=OWL)])).wait()
            assert copies(tmp_path) == named(OWL, MASK)
            await (await studio.resume(waiting)).wait()
            aged(tmp_path)
            await (await studio.batch([ImageRequest(prompt="plain")])).wait()
            assert copies(tmp_path) == {}
    assert batch_server.edits[-1][1]["image"] == (MASK,)


async def test_the_copies_of_a_cancelled_batch_are_removed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, tmp_path, edit())
        async with batch_server.studio(tmp_path) as studio:
            await studio.cancel_batch(name)
            aged(tmp_path)
            await (await studio.batch([ImageRequest(prompt="plain")])).wait()
    assert copies(tmp_path) == {}


async def test_a_copy_that_is_needed_again_counts_as_new(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await (await studio.batch([edit("a")])).wait()
        aged(tmp_path)
        await (await studio.batch([edit("b")])).wait()
    assert copies(tmp_path) == named(FOX)
