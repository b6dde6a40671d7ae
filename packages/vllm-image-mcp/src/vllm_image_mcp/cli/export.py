"""The `export` command: copy images of the output folder into another folder, and convert them if asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.shared_options import chosen_images
from vllm_image_mcp.command_line import PathArgument, echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_core.requests.fields import OutputFormat

    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...|BATCH NUMBER...")
@click.option("--to", "folder", type=PathArgument(), required=True, metavar="DIR", help="Folder to copy to.")
@click.option(
    "--format",
    "output_format",
    type=shared_options.FormatChoice(["png", "jpeg", "webp"]),
    help="Convert the images. Default: copies, byte for byte.",
)
@click.option("--overwrite", is_flag=True, help="Replace files of the same names.")
@shared_options.as_json
@with_state
async def export(
    state: State,
    images: tuple[str, ...],
    *,
    folder: Path,
    output_format: OutputFormat | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Copy images into another folder, and convert them if asked.

    The images come from the output folder; the copies keep their names and their metadata. Name the images by
    file, or by a batch's id and their numbers on its contact sheet, counted from 0: export batch_3bed 2 5
    --to site. The paths of the copies are printed.
    """
    state.check_folder()
    chosen, indexes = chosen_images(images, state.folder.path)
    paths = await state.studio.export(
        chosen, folder, indexes=indexes, output_format=output_format, overwrite=overwrite
    )
    for path in paths:
        echo(json_line({"path": path_text(path)}) if as_json else path_text(path))
    return 0
