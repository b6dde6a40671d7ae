"""A batch over a limit is refused before anything is sent, with the time when there will be room."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import requests
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.items import Failed
from vllm_image_core.batches.journal import Journal
from vllm_image_core.batches.limits import NO_LIMITS, Limits
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import InvalidRequest, LimitReached
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.database import Database
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import ServerError

if TYPE_CHECKING:
    from conftest import BatchServer

MEGAPIXELS_OF_ONE = 64 * 64 / 1_000_000


def studio_of(
    server: "BatchServer", folder: Path, *, images: int | None = None, megapixels: float | None = None
) -> Studio:
    limits = Limits(images_per_hour=images, megapixels_in_flight=megapixels)
    return Studio(server, output_dir=folder, limits=limits)


async def make(studio: Studio, count: int) -> str:
    batch = await studio.batch(requests(count))
    await batch.wait()
    return batch.id


def age(folder: Path, seconds: int) -> None:
    """Make all batches older by some seconds."""
    with Database(folder, JOURNAL).open() as connection:
        connection.execute(
            "UPDATE batch SET created = created - ?, beat_at = beat_at - ?", (seconds, seconds)
        )


async def test_no_more_images_than_allowed_can_be_requested_in_an_hour(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with studio_of(batch_server, tmp_path, images=5) as studio:
        await make(studio, 3)
        with pytest.raises(LimitReached) as raised:
            await make(studio, 3)
        await make(studio, 2)
    error = raised.value
    assert error.limit == "images_per_hour"
    assert error.free_at is not None
    assert timedelta(minutes=59) < error.free_at - datetime.now(UTC) < timedelta(minutes=61)
    assert re.fullmatch(
        r"The limit is 5 images an hour, with 3 already requested\. There will be room for 3 images "
        r"at \d\d:\d\d:\d\d UTC, in 6[01] minutes\.",
        error.message,
    )
    assert error.next_step == "Wait until then, or request at most 2 images now."
    assert len(batch_server.sent) == 5
    assert len(Journal(tmp_path).batches(10)) == 2


async def test_there_is_room_again_after_an_hour(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with studio_of(batch_server, tmp_path, images=5) as studio:
        await make(studio, 3)
        age(tmp_path, 1_800)
        await make(studio, 2)
        with pytest.raises(LimitReached) as raised:
            await make(studio, 1)
        assert raised.value.free_at is not None
        assert raised.value.free_at.timestamp() == pytest.approx(time.time() + 1_800, abs=30)
        assert raised.value.next_step == "Wait until then."
        age(tmp_path, 1_801)
        await make(studio, 3)


async def test_a_batch_that_can_never_fit_says_so(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with studio_of(batch_server, tmp_path, images=5) as studio:
        with pytest.raises(LimitReached, match="This request has 6 images; the limit is 5") as raised:
            await make(studio, 6)
    assert raised.value.free_at is None
    async with studio_of(batch_server, tmp_path, megapixels=0.01) as studio:
        with pytest.raises(LimitReached, match=r"This request has 0.0123 megapixels; at most 0.01"):
            await make(studio, 3)
    assert batch_server.sent == []


async def test_failed_and_existing_images_do_not_count(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch_server.fails = lambda prompt, _: ServerError("broken", status=500) if prompt == "fox 1" else None
    again = ImageRequest(prompt="again", seed=7, width=64, height=64)
    async with studio_of(batch_server, tmp_path, images=3) as studio:
        await make(studio, 2)
        for _ in range(5):
            await (await studio.batch([again])).wait()
        await make(studio, 1)
        with pytest.raises(LimitReached):
            await make(studio, 1)


async def test_images_cancelled_before_they_were_sent_do_not_count(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with studio_of(batch_server, tmp_path, images=10) as studio:
        batch_server.gate.clear()
        held = await studio.batch(requests(10), max_concurrent=1)
        await held.cancel()
        batch_server.gate.set()
        [cancelled] = await studio.batches()
        used = cancelled.done + cancelled.left_running
        assert used <= 1
        await make(studio, 10 - used)


async def test_no_more_megapixels_than_allowed_are_in_progress(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with studio_of(batch_server, tmp_path, megapixels=3.5 * MEGAPIXELS_OF_ONE) as studio:
        batch_server.gate.clear()
        running = await studio.batch(requests(2))
        with pytest.raises(LimitReached) as raised:
            await studio.batch(requests(2))
        assert raised.value.limit == "megapixels_in_flight"
        assert running.id in raised.value.message
        one_more = await studio.batch(requests(1))
        batch_server.gate.set()
        await asyncio.gather(running.wait(), one_more.wait())
        await make(studio, 3)


async def test_images_of_a_process_that_died_are_not_in_progress(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with studio_of(batch_server, tmp_path) as studio:
        await make(studio, 3)
    with Database(tmp_path, JOURNAL).open() as connection:
        connection.execute("UPDATE batch SET state = 'open', done = 0, owner = 'nobody'")
    async with studio_of(batch_server, tmp_path, megapixels=3.5 * MEGAPIXELS_OF_ONE) as studio:
        with pytest.raises(LimitReached):
            await make(studio, 3)
        age(tmp_path, 61)
        await make(studio, 3)


async def interrupted(server: "BatchServer", folder: Path, count: int) -> str:
    """Begin a batch without limits, and stop while its first image is being generated."""
    sent = len(server.sent)
    server.gate.clear()
    async with studio_of(server, folder) as studio:
        batch = await studio.batch(requests(count), max_concurrent=1)
        await server.came(sent + 1)
    server.gate.set()
    return batch.id


async def test_a_resumed_batch_is_checked_against_the_current_limits(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch = await interrupted(batch_server, tmp_path, 3)
    sent = len(batch_server.sent)
    async with studio_of(batch_server, tmp_path, images=2) as studio:
        with pytest.raises(LimitReached, match="This request has 3 images; the limit is 2"):
            await studio.resume(batch)
    async with studio_of(batch_server, tmp_path, megapixels=2.5 * MEGAPIXELS_OF_ONE) as studio:
        with pytest.raises(LimitReached, match=r"at most 0\.01024 may be in progress"):
            await studio.resume(batch)
    assert len(batch_server.sent) == sent
    async with studio_of(batch_server, tmp_path, images=3, megapixels=3 * MEGAPIXELS_OF_ONE) as studio:
        resumed = await studio.resume(batch)
        await resumed.wait()
        assert resumed.progress.done == 3


async def test_a_batch_that_is_resumed_within_the_hour_counts_once(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch = await interrupted(batch_server, tmp_path, 3)
    async with studio_of(batch_server, tmp_path, images=4) as studio:
        await make(studio, 1)
        with pytest.raises(LimitReached):
            await make(studio, 1)
        resumed = await studio.resume(batch)
        await resumed.wait()
        assert resumed.progress.done == 3


async def test_the_rest_of_an_older_batch_counts_from_its_resume(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch = await interrupted(batch_server, tmp_path, 3)
    age(tmp_path, 3_601)
    async with studio_of(batch_server, tmp_path, images=4) as studio:
        await make(studio, 2)
        with pytest.raises(LimitReached, match="with 2 already requested"):
            await studio.resume(batch)
    async with studio_of(batch_server, tmp_path, images=5) as studio:
        await (await studio.resume(batch)).wait()
        with pytest.raises(LimitReached, match="with 5 already requested"):
            await make(studio, 1)


async def test_failed_images_that_are_tried_again_count_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda prompt, _: ServerError("broken", status=500) if prompt == "fox 1" else None
    async with studio_of(batch_server, tmp_path, images=3) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
        await make(studio, 1)
        with pytest.raises(LimitReached):
            await batch.retry_failed()


async def fail_the_first(server: "BatchServer", studio: Studio) -> ImageBatch:
    """Begin a batch of three whose first image has failed and whose second one is in progress."""
    server.fails = lambda prompt, times: (
        ServerError("broken", status=500) if (prompt, times) == ("fox 0", 0) else None
    )
    batch = await studio.batch(requests(3), max_concurrent=1)
    assert isinstance(await anext(aiter(batch)), Failed)
    server.gate.clear()
    await server.came(2)
    return batch


async def test_failed_images_of_a_running_batch_count_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with (
        studio_of(batch_server, tmp_path, images=3) as studio,
        studio_of(batch_server, tmp_path) as free,
    ):
        batch = await fail_the_first(batch_server, studio)
        other = await free.batch(requests(1))
        with pytest.raises(LimitReached, match="with 1 already requested"):
            await batch.retry_failed()
        batch_server.gate.set()
        await batch.wait()
        assert (batch.progress.done, batch.progress.failed) == (2, 1)
        await other.wait()
    assert batch_server.sent.count("fox 0") == 2


async def test_failed_images_of_a_running_batch_are_in_progress_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with (
        studio_of(batch_server, tmp_path, megapixels=3.5 * MEGAPIXELS_OF_ONE) as studio,
        studio_of(batch_server, tmp_path) as free,
    ):
        batch = await fail_the_first(batch_server, studio)
        other = await free.batch(requests(1))
        with pytest.raises(LimitReached, match=other.id):
            await batch.retry_failed()
        batch_server.gate.set()
        await other.wait()
        await batch.wait()
        assert await batch.retry_failed() == 1
        await batch.wait()
        assert batch.progress.done == 3


async def test_failed_images_of_an_older_running_batch_count_from_when_they_are_tried_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with studio_of(batch_server, tmp_path, images=3) as studio:
        batch = await fail_the_first(batch_server, studio)
        age(tmp_path, 3_601)
        assert await batch.retry_failed() == 1
        batch_server.gate.set()
        await batch.wait()
        assert batch.progress.done == 3
        await make(studio, 2)
        with pytest.raises(LimitReached, match="with 3 already requested"):
            await make(studio, 1)


async def test_resumed_images_are_in_progress(batch_server: "BatchServer", tmp_path: Path) -> None:
    batch = await interrupted(batch_server, tmp_path, 3)
    async with studio_of(batch_server, tmp_path, megapixels=3.5 * MEGAPIXELS_OF_ONE) as studio:
        await make(studio, 3)
        batch_server.gate.clear()
        running = await studio.resume(batch)
        with pytest.raises(LimitReached, match=batch):
            await make(studio, 1)
        batch_server.gate.set()
        await running.wait()


async def test_changed_limits_apply_to_the_next_batch(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with studio_of(batch_server, tmp_path) as studio:
        await make(studio, 3)
        studio.set_limits(Limits(images_per_hour=4))
        with pytest.raises(LimitReached):
            await make(studio, 2)
        studio.set_limits(NO_LIMITS)
        await make(studio, 2)


async def test_two_simultaneous_batches_cannot_both_take_the_rest(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with (
        studio_of(batch_server, tmp_path, images=5) as one,
        studio_of(batch_server, tmp_path, images=5) as other,
    ):
        outcomes = await asyncio.gather(
            *(make(studio, 1) for studio in (one, other) for _ in range(5)), return_exceptions=True
        )
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, LimitReached) for outcome in outcomes) == 5
    assert len(batch_server.sent) == 5


async def test_limits_refuse_a_source_of_unknown_length(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with studio_of(batch_server, tmp_path, images=5) as studio:
        with pytest.raises(InvalidRequest, match="known in advance"):
            await studio.batch(iter(requests(2)))


def test_without_limits_nothing_is_read() -> None:
    assert not NO_LIMITS
    assert Limits(images_per_hour=1)
