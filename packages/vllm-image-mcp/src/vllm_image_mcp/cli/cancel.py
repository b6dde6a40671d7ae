"""The `cancel` command: cancel a batch, even one that another process runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.batch_ids import full_batch_id
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("batch_id", metavar="ID")
@shared_options.as_json
@with_state
async def cancel(state: State, batch_id: str, *, as_json: bool) -> int:
    """Cancel a batch; finished images are kept.

    The batch may run in another process.
    """
    state.check_folder()
    batch_id = full_batch_id(state.folder.path, batch_id)
    found = await state.studio.cancel_batch(batch_id)
    if as_json:
        counts = ("id", "state", "done", "failed", "cancelled", "left_running")
        echo(json_line({name: getattr(found, name) for name in counts}))
        return 0 if found.owner is None else 1
    echo(f"{found.id} {found.state}: {found.done} done, {found.failed} failed, {found.cancelled} cancelled")
    if found.left_running:
        from vllm_image_mcp.cli.batch_progress import still_running_note  # noqa: PLC0415 - slow to import

        echo(still_running_note(found.left_running), err=True)
    return 0 if found.owner is None else 1
