"""The `sweep` command: generate variations of prompts, and draw them in a labelled grid."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


def _check_jpeg(_: click.Context, __: click.Parameter, given: Path | None) -> Path | None:
    if given is not None and given.suffix.lower() not in {".jpg", ".jpeg"}:
        raise click.BadParameter(f"{given.name} is not the name of a JPEG; use {given.stem}.jpg.")
    return given


@click.command(cls=GroupedOptions)
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@shared_options.request_options("generate")
@shared_options.variation_options
@click.option(
    "--grid",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jpg",
    callback=_check_jpeg,
    help="Draw the images in a labelled grid, and save it as this JPEG file.",
)
@shared_options.fresh
@shared_options.quiet
@shared_options.as_json
@with_state
async def sweep(
    state: State,
    prompts: tuple[str, ...],
    *,
    dry_run: bool,
    grid: Path | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - click's options, by name
) -> int:
    """Generate variations of one or several prompts: --count 4, or --sweep guidance_scale=3,4,5.

    Each --sweep is an axis: the first one varies from column to column of the grid, the next from row to row.
    Swept words are replaced in the prompt: "a red fox" --sweep red=red,blue. The images are one batch,
    which `resume` continues. Up to 1,000 images per prompt, 256 in a grid.
    """
    from vllm_image_core.requests.image_request import ImageRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.batch_progress import BatchProgress, show_forecast  # noqa: PLC0415 - likewise

    variations = shared_options.take_variations(options)
    expansion = state.studio.expansion(variations, ImageRequest(prompt="", **options))
    requests = expansion.expand(prompts)
    batch = state.studio.batch(requests, fresh=fresh)
    if dry_run:
        show_forecast(await batch.forecast(), as_json=as_json)
        return 0
    state.check_folder()
    status = await BatchProgress(state, batch, as_json=as_json, quiet=quiet).show()
    if grid is not None:
        drawn = await state.studio.draw_grid(batch)
        await asyncio.to_thread(grid.write_bytes, drawn.picture.bytes)
        echo(path_text(grid), err=as_json)
    return status
