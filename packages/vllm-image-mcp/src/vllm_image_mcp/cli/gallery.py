"""The `gallery` command: write the images of a folder as one page for the browser, or serve it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.progress_bar import ProgressBar
from vllm_image_mcp.command_line import PathArgument, echo
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings


@click.command(cls=GroupedOptions)
@click.argument("directory", metavar="[DIR]", required=False, type=PathArgument())
@click.option("--serve", is_flag=True, help="Serve the page, to keep, reject, rate and tag images in it.")
@shared_options.open_page
@shared_options.as_json
@with_settings
def gallery(
    settings: Settings, directory: Path | None, *, serve: bool, open_page: bool, as_json: bool
) -> None:
    """Write the images of DIR as one page for the browser, and print its path.

    DIR is the output folder unless you name another. The page needs no server and no network: search, sort,
    zoom, compare two images, and copy the command that makes one again.

    With --serve, the page is served to this machine's browser instead, and its address is printed. There you
    can keep, reject, rate and tag images until you press Ctrl-C.
    """
    if directory is not None:
        settings = settings.model_copy(update={"output_dir": directory})
    with report_errors():
        folder = State(settings, at_shell=True).folder
        folder.check()
        (_serve if serve else _write)(folder.path, opens=open_page, as_json=as_json)


def _write(folder: Path, *, opens: bool, as_json: bool) -> None:
    from vllm_image_core.gallery.page import write_gallery  # noqa: PLC0415 - slow to import

    with ProgressBar("Thumbnails") as bar:
        try:
            page = write_gallery(folder, on_progress=bar.update)
        except OSError as error:
            raise click.ClickException(f"The page cannot be written: {error.strerror or error}.") from error
    echo(json_line({"path": path_text(page)}) if as_json else path_text(page))
    if opens:
        click.launch(str(page))


def _serve(folder: Path, *, opens: bool, as_json: bool) -> None:
    from vllm_image_mcp.cli.gallery_server import GalleryServer  # noqa: PLC0415 - slow to import

    try:
        server = GalleryServer(folder)
    except OSError as error:
        raise click.ClickException(f"The page cannot be served: {error.strerror or error}.") from error
    echo(json_line({"url": server.url}) if as_json else server.url)
    echo("Serving the gallery to this machine. Press Ctrl-C to stop.", err=True)
    if opens:
        click.launch(server.url)
    with suppress(KeyboardInterrupt):
        server.run()
