"""Find saved images of an interrupted batch that its journal does not have yet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_image_core.batches.summary import FoundBatch
    from vllm_image_core.storage.record import Record


def add_folder_outcomes(found: FoundBatch, records: Sequence[Record]) -> FoundBatch:
    """Add the images that are in the folder but not in the batch's journal; resuming finds them as well.

    Args:
        found: A batch that no process works on.
        records: The images in the folder that name it as their batch.
    """
    recorded = {item.path for item in found.items}
    free = [record for record in records if record.path not in recorded]
    items = list(found.items)
    for place, item in enumerate(items):
        if item.state != "waiting":
            continue
        record = next((each for each in free if (each.prompt, each.seed) == (item.prompt, item.seed)), None)
        if record is not None:
            free.remove(record)
            items[place] = replace(item, state="done", path=record.path, seconds=record.seconds)
    more = sum(item.state == "done" for item in items) - sum(item.state == "done" for item in found.items)
    return replace(found, items=items, done=found.done + more, waiting=found.waiting - more)
