"""The `generate` command: generate one image and print where it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import run
from vllm_image_mcp.options import with_settings

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.state import State

__all__ = ["generate"]


@click.command()
@click.argument("prompt")
@shared_options.negative_prompt
@shared_options.width
@shared_options.height
@shared_options.aspect_ratio
@shared_options.steps
@shared_options.guidance_scale
@shared_options.seed
@shared_options.filename
@shared_options.output_format
@shared_options.quality
@shared_options.fresh
@with_settings
def generate(settings: Settings, prompt: str, *, fresh: bool, **parameters: Any) -> None:  # noqa: ANN401 - click's options, by name
    """Generate one image.

    If you give a seed and the output folder already has this image, its path is printed instead.
    """
    run(settings, lambda state: _generate(state, prompt, fresh=fresh, **parameters))


async def _generate(state: State, prompt: str, *, fresh: bool, **parameters: Any) -> int:  # noqa: ANN401 - click's options, by name
    from vllm_image_core.requests.image_request import ImageRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.single_image import run_single_image, show_image  # noqa: PLC0415 - slow to import

    image = await run_single_image(state, ImageRequest(prompt=prompt, **parameters), fresh=fresh)
    if isinstance(image, int):
        return image
    show_image(image, notes=state.notes)
    return 1 if image.spilled else 0
