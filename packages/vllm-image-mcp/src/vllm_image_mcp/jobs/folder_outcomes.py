"""Salvage: what a batch that was cut off has in the folder, though nobody was left to write it down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_image_core.batches.summary import FoundBatch
    from vllm_image_core.storage.record import Record

__all__ = ["with_folder"]


def with_folder(found: FoundBatch, records: Sequence[Record]) -> FoundBatch:
    """The batch with the pictures that are saved and not in its journal; going on with it finds them, too.

    Args:
        found: A batch that nobody works on.
        records: The pictures in the folder that say that they belong to it.
    """
    known = {item.path for item in found.items}
    free = [record for record in records if record.path not in known]
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
