"""The `rate` command: keep, reject, rate or tag images, by file name or by their numbers in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.shared_options import chosen_images
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_core.storage.verdicts import Verdict

    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("verdict", type=click.Choice(["keep", "reject", "clear", "stars", "tag"]))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...|BATCH NUMBER...")
@click.option("--stars", type=int, metavar="1-5", help="Rating in stars, from 1 to 5; 0 removes it.")
@click.option("--tag", metavar="TEXT", help='New tag, in place of the old one; "" removes it.')
@shared_options.as_json
@with_state
async def rate(
    state: State,
    verdict: str,
    images: tuple[str, ...],
    *,
    stars: int | None,
    tag: str | None,
    as_json: bool,
) -> int:
    """Keep or reject images, and print where they are now.

    Name the images by their files, or by a batch's id and their numbers on its contact sheet, counted from 0:
    rate keep batch_3bed 2 5. Rejected images are moved to the folder "rejected" in the output folder; `clear`
    takes a verdict back. Use `stars` with --stars, or `tag` with --tag, to do only that.
    """
    state.check_folder()
    decided = None if verdict in {"stars", "tag"} else cast("Verdict", verdict)
    chosen, indexes = chosen_images(images, state.folder.path)
    paths = await state.studio.rate(chosen, indexes=indexes, verdict=decided, stars=stars, tag=tag)
    for path in paths:
        echo(
            json_line({"path": path_text(path), "verdict": decided, "stars": stars, "tag": tag})
            if as_json
            else path_text(path)
        )
    return 0
