"""The `resume` command: continue an interrupted batch and generate only its missing images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.batch_ids import full_batch_id
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("batch_id", metavar="ID")
@shared_options.quiet
@shared_options.as_json
@with_state
async def resume(state: State, batch_id: str, *, quiet: bool, as_json: bool) -> int:
    """Generate the missing images of an interrupted batch."""
    from vllm_image_mcp.cli.batch_progress import BatchProgress  # noqa: PLC0415 - slow to import

    state.check_folder()
    batch_id = full_batch_id(state.folder.path, batch_id)
    resumed = state.studio.resume(batch_id, max_concurrent=state.settings.max_concurrent)
    return await BatchProgress(state, resumed, as_json=as_json, quiet=quiet).show()
