"""The `generate` command: generate one image and print where it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@click.command()
@click.argument("prompt")
@shared_options.request_options("generate")
@shared_options.fresh
@with_state
async def generate(state: State, prompt: str, *, fresh: bool, **parameters: Any) -> int:  # noqa: ANN401 - click's options, by name
    """Generate one image.

    If you give a seed and the output folder already has this image, its path is printed instead.
    """
    from vllm_image_core.requests.image_request import ImageRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.single_image import run_single_image  # noqa: PLC0415 - slow to import

    return await run_single_image(state, ImageRequest(prompt=prompt, **parameters), fresh=fresh)
