"""Batches of foxes, and damage to their journals."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_image_core.batches.events import Event
from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.batches.items import Done
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.database import Database

if TYPE_CHECKING:
    from conftest import BatchServer


def requests(count: int) -> list[ImageRequest]:
    return [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(count)]


def forgotten(folder: Path, *positions: int) -> None:
    """Take outcomes out of the journal, as if the process had died before it wrote them."""
    with Database(folder, JOURNAL).open() as connection:
        for position in positions:
            connection.execute("DELETE FROM outcome WHERE position = ?", (position,))


async def paused(batch: ImageBatch) -> str:
    """Wait until a batch is paused, and return why."""
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


async def journal_of(server: "BatchServer", folder: Path, batches: int) -> list[str]:
    names: list[str] = []
    for _ in range(batches):
        async with asyncio.timeout(60), server.studio(folder) as studio:
            batch = await studio.batch(requests(20))
            await batch.wait()
            names.append(batch.id)
    return names
