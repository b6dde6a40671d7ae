"""The `gallery` command: write the images of a folder as one page for the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.command_line import PathArgument, echo
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings


@click.command(cls=GroupedOptions)
@click.argument("directory", metavar="[DIR]", required=False, type=PathArgument())
@shared_options.open_page
@with_settings
def gallery(settings: Settings, directory: Path | None, *, open_page: bool) -> None:
    """Write the images of DIR as one page for the browser, and print its path.

    DIR is the output folder unless you name another. The page needs no server and no network: search, sort,
    zoom, compare two images, and copy the command that makes one again.
    """
    from vllm_image_core.gallery.page import write_gallery  # noqa: PLC0415 - slow to import

    if directory is not None:
        settings = settings.model_copy(update={"output_dir": directory})
    with report_errors():
        folder = State(settings, at_shell=True).folder
        folder.check()
        with click.progressbar(length=1, label="Thumbnails", file=sys.stderr) as bar:

            def show(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            try:
                page = write_gallery(folder.path, on_progress=show)
            except OSError as error:
                raise click.ClickException(
                    f"The page cannot be written: {error.strerror or error}."
                ) from error
    echo(path_text(page))
    if open_page:
        click.launch(str(page))
