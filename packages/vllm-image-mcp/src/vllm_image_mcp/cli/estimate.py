"""The `estimate` command: print how long images would take, and how much GPU memory they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@click.argument("num_images", metavar="[N]", type=click.IntRange(1), default=1)
@click.option("--width", type=int, metavar="PIXELS", help="Image width in pixels.")
@click.option("--height", type=int, metavar="PIXELS", help="Image height in pixels.")
@click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Number of inference steps.")
@shared_options.as_json
@with_state
async def estimate(
    state: State,
    *,
    num_images: int,
    width: int | None,
    height: int | None,
    num_inference_steps: int | None,
    as_json: bool,
) -> int:
    """Estimate the time and GPU memory of N images, without generating any.

    What you omit comes from the profile of the loaded model.
    """
    from vllm_image_core.estimation.backlog import duration  # noqa: PLC0415 - slow to import

    found = await state.studio.estimate(
        num_images=num_images, width=width, height=height, num_inference_steps=num_inference_steps
    )
    if as_json:
        from vllm_image_mcp.results.image_results import generation_estimate  # noqa: PLC0415 - slow to import

        echo(json_line(generation_estimate(found).model_dump(mode="json")))
        return 0
    memory = "unknown" if found.peak_vram_gb is None else f"{found.peak_vram_gb:.1f} GB"
    echo(f"size     {found.size}")
    echo(f"image    {found.seconds_per_image:.2f} s each")
    echo(f"total    {duration(found.total_seconds)}")
    echo(f"memory   {memory} ({found.memory_basis})")
    echo(f"at once  {found.recommended_concurrent}")
    echo(f"basis    {found.basis}")
    for note in found.other_notes:
        echo(note, err=True)
    return 0
