"""The `edit` command: edit an image, or combine several, and print where the result was saved."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state

if TYPE_CHECKING:
    from vllm_image_mcp.state import State

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", re.IGNORECASE)


class _ImagePath(click.Path):
    """The path of an image file; a URL stays as typed, because a path would lose one of its slashes."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401 - as click has it
        if isinstance(value, str) and _ADDRESS.match(value):
            return value
        return super().convert(value, param, ctx)


_IMAGE = _ImagePath(path_type=Path)


@click.command()
@click.argument("prompt")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=_IMAGE)
@click.option("--mask", type=_IMAGE, metavar="FILE", help="Mask image: white where the image may change.")
@click.option(
    "--reference-image", type=_IMAGE, metavar="FILE", help="Image from which to take a subject or a style."
)
@click.option(
    "--strength", type=float, metavar="X", help="0 to 1: how far the result may differ from the image."
)
@click.option(
    "--layers", type=int, metavar="N", help="2 to 10 layers, for models that split an image into layers."
)
@click.option(
    "--resolution", type=int, metavar="N", help="640 or 1024, for the same models, instead of a size."
)
@shared_options.negative_prompt
@shared_options.width
@shared_options.height
@shared_options.aspect_ratio
@shared_options.steps
@shared_options.guidance_scale
@shared_options.seed
@shared_options.filename
@shared_options.quality
@shared_options.fresh
@with_state
async def edit(state: State, prompt: str, *, fresh: bool, **parameters: Any) -> int:  # noqa: ANN401 - click's options, by name
    """Edit an image, or combine up to 4, as PROMPT says.

    The result has the size of the first image unless you set another.
    """
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.single_image import run_single_image  # noqa: PLC0415 - slow to import

    return await run_single_image(state, EditRequest(prompt=prompt, **parameters), fresh=fresh)
