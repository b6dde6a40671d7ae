"""The `resume` command: continue an interrupted batch and generate only its missing images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import run
from vllm_image_mcp.options import with_settings

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.state import State

__all__ = ["resume"]


@click.command()
@click.argument("batch_id", metavar="ID")
@shared_options.as_json
@with_settings
def resume(settings: Settings, batch_id: str, *, as_json: bool) -> None:
    """Generate the missing images of an interrupted batch."""
    run(settings, lambda state: _resume(state, batch_id, as_json=as_json))


async def _resume(state: State, batch_id: str, *, as_json: bool) -> int:
    from vllm_image_mcp.cli.batch_progress import BatchProgress  # noqa: PLC0415 - slow to import

    state.check_folder()
    resumed = state.studio.resume(batch_id, max_concurrent=state.settings.max_concurrent)
    return await BatchProgress(state, resumed, as_json=as_json).show()
