"""The `vllm-image-mcp` command: serve MCP, or run one of its subcommands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli.batch import batch
from vllm_image_mcp.cli.batches import batches
from vllm_image_mcp.cli.cancel import cancel
from vllm_image_mcp.cli.edit import edit
from vllm_image_mcp.cli.generate import generate
from vllm_image_mcp.cli.health import health
from vllm_image_mcp.cli.models import models
from vllm_image_mcp.cli.resume import resume
from vllm_image_mcp.options import with_settings
from vllm_image_mcp.startup import check_profiles, start_logging

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vllm-image-mcp")
@with_settings
def main(settings: Settings) -> None:
    """Generate and edit images on a self-hosted vLLM-Omni server.

    Without a command, this serves MCP on stdin and stdout; an MCP host starts it that way. You can also set
    every option in the environment: VLLM_IMAGE_URL, VLLM_IMAGE_OUTPUT_DIR, VLLM_IMAGE_API_KEY and so on.
    """
    start_logging(settings)
    if click.get_current_context().invoked_subcommand is None:
        check_profiles(settings)
        from vllm_image_mcp.server import serve  # noqa: PLC0415 - commands need no MCP

        serve(settings)


for _command in (generate, batch, batches, resume, cancel, edit, models, health):
    main.add_command(_command)


if __name__ == "__main__":
    main()
