"""The `edit` command: edit an image, or combine several, and print where the result was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.output_file import take_output_file
from vllm_image_mcp.command_line import matching_paths, shell_command
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_image_mcp.state import State


def _matching(_: click.Context, __: click.Parameter, given: tuple[Path | str, ...]) -> tuple[Path | str, ...]:
    """Replace each pattern by the files that it matches; a URL stays as it is."""
    return tuple(
        each for path in given for each in (matching_paths(path) if isinstance(path, Path) else [path])
    )


@click.command(cls=GroupedOptions)
@click.argument("prompt")
@click.argument(
    "images",
    nargs=-1,
    required=True,
    metavar="IMAGE...",
    type=shared_options.ImagePath(),
    callback=_matching,
)
@shared_options.count
@shared_options.output_file
@shared_options.request_options("edit")
@shared_options.fresh
@shared_options.quiet
@shared_options.open_image
@shared_options.as_json
@with_state
async def edit(
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
    """Edit an image, or combine up to 4, as PROMPT says.

    The result has the size of the first image unless you set another.
    """
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli.single_image import ImageOutput, run_images  # noqa: PLC0415 - likewise

    _check_order(prompt, parameters["images"])
    file = take_output_file(parameters, count=count)
    output = ImageOutput(quiet=quiet, as_json=as_json, opens=open_image, file=file)
    request = EditRequest(prompt=prompt, **parameters)
    return await run_images(state, request, count=count, fresh=fresh, output=output)


def _check_order(prompt: str, images: Sequence[Path | str]) -> None:
    """Refuse an image that comes before the prompt."""
    if len(images) == 1 and _is_file(prompt) and not _is_file(images[0]):
        command = shell_command(["edit", str(images[0]), prompt])
        raise click.UsageError(f"The prompt comes first, then the image: {command}")


def _is_file(name: Path | str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # such as a prompt that is too long for a path
        return False
