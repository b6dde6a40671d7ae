"""The `generate` command: generate one image and print where it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.output_file import take_output_file
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("prompt")
@shared_options.count
@shared_options.output_file
@shared_options.request_options("generate")
@shared_options.fresh
@shared_options.quiet
@shared_options.open_image
@shared_options.as_json
@with_state
async def generate(
    state: State,
    prompt: str,
    *,
    count: int,
    fresh: bool,
    quiet: bool,
    open_image: bool,
    as_json: bool,
    **parameters: Any,  # noqa: ANN401 - click's options, by name
) -> int:
    """Generate one image, or several with -n.

    If you give a seed and the output folder already has this image, its path is printed instead. Terminals
    that can show images (kitty, Ghostty, iTerm2, WezTerm) show it.
    """
    from vllm_image_core.requests.image_request import ImageRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.single_image import ImageOutput, run_images  # noqa: PLC0415 - likewise

    file = take_output_file(parameters, count=count)
    output = ImageOutput(quiet=quiet, as_json=as_json, opens=open_image, file=file)
    request = ImageRequest(prompt=prompt, **parameters)
    return await run_images(state, request, count=count, fresh=fresh, output=output)
