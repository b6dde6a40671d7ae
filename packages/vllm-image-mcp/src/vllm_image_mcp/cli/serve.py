"""The `serve` command: serve MCP over stdio or HTTP; this is also what runs if no command is given."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import check_output_folder, check_profiles, start_logging

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings


@click.command(cls=GroupedOptions)
@partial(with_settings, serves_mcp=True)
def serve(settings: Settings) -> None:
    """Serve MCP on stdin and stdout, or over HTTP with --transport http."""
    from vllm_image_mcp import server  # noqa: PLC0415 - the other commands need no MCP

    start_logging(settings)  # the level may be given after the command's name
    check_profiles(settings)
    check_output_folder(settings)
    server.serve(settings)
