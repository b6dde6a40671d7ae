"""Complete the id of a batch that is given by its start, as people type it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from pathlib import Path

_START: Final = "batch_"
_SHOWN: Final = 5


def is_batch_id(text: str) -> bool:
    """Whether a string names a batch, by its id or the start of one."""
    return text.startswith(_START)


def full_batch_id(folder: Path, given: str) -> str:
    """Return the one id in a folder's journal that starts as given; what was given if none does.

    Raises:
        click.BadParameter: Several ids start so.
    """
    from vllm_image_core.batches.journal import Journal  # noqa: PLC0415 - slow to import

    if not is_batch_id(given):
        return given
    found = Journal(folder).ids_starting_with(given, _SHOWN)
    if len(found) > 1 and given not in found:
        raise click.BadParameter(f"Several batches start with {given}: {', '.join(found)}.")
    return found[0] if len(found) == 1 else given
