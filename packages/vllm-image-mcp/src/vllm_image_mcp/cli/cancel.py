"""The `cancel` command: cancel a batch, even one that another process runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.batch_ids import full_batch_id
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from pathlib import Path

    from vllm_image_core.batches.summary import FoundBatch

    from vllm_image_mcp.state import State

_MOST: Final = 1_000_000
"""All batches of any folder."""


@click.command(cls=GroupedOptions)
@click.argument("batch_id", metavar="ID", required=False)
@click.option("--all", "every", is_flag=True, help="Cancel every batch of the output folder that is running.")
@shared_options.as_json
@with_state
async def cancel(state: State, batch_id: str | None, *, every: bool, as_json: bool) -> int:
    """Cancel a batch, or all with --all; finished images are kept.

    The batch may run in another process.
    """
    if every == (batch_id is not None):
        raise click.UsageError("Give the ID of a batch, which `vllm-image-mcp batches` lists, or --all.")
    state.check_folder()
    folder = state.folder.path
    ids = [full_batch_id(folder, batch_id)] if batch_id is not None else _running(folder)
    if not ids:
        echo(f"No batch is running in {path_text(folder)}.", err=True)
    cancelled = await asyncio.gather(*map(state.studio.cancel_batch, ids))
    for each in cancelled:
        _show(each, as_json=as_json)
    return 0 if all(each.owner is None for each in cancelled) else 1


def _running(folder: Path) -> list[str]:
    from vllm_image_core.batches.journal import Journal  # noqa: PLC0415 - slow to import

    return [each.id for each in Journal(folder).batches(_MOST) if each.owner is not None]


def _show(found: FoundBatch, *, as_json: bool) -> None:
    if as_json:
        counts = ("id", "state", "done", "failed", "cancelled", "left_running")
        echo(json_line({name: getattr(found, name) for name in counts}))
        return
    echo(f"{found.id} {found.state}: {found.done} done, {found.failed} failed, {found.cancelled} cancelled")
    if found.left_running:
        from vllm_image_mcp.cli.batch_progress import still_running_note  # noqa: PLC0415 - slow to import

        echo(still_running_note(found.left_running), err=True)
