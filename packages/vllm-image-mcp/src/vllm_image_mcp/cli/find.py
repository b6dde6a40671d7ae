"""The `find` command: search the output folder for images made earlier, and print their paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from vllm_image_core.text import one_line, path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_core.storage.index import Page
    from vllm_image_core.storage.record import Record

    from vllm_image_mcp.state import State

_PROMPT_WIDTH = 60


@click.command(cls=GroupedOptions)
@click.argument("text", required=False)
@click.option("--model", metavar="NAME", help="The model's exact name.")
@click.option("--seed", type=int, metavar="N", help="Only images with this seed.")
@click.option("--since", metavar="DATE", help="Generated on this day or later, such as 2026-11-23.")
@click.option("--until", metavar="DATE", help="Generated on this day or earlier.")
@click.option("--batch", metavar="ID", help="Only images of this batch.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Number of images to print."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Number of newest images to skip.")
@shared_options.quiet
@shared_options.as_json
@with_state
async def find(state: State, text: str | None, *, quiet: bool, as_json: bool, **terms: Any) -> int:  # noqa: ANN401 - click's options, by name
    """Find images made earlier, newest first.

    All words of TEXT must occur in the prompt, the tag or the file name; "sno*" also finds "snow". Without
    TEXT, this lists the newest images. The exit status is 1 if there are none.
    """
    from vllm_image_mcp.dates import end_of, start_of  # noqa: PLC0415 - slow to import

    state.check_folder()
    since, until = start_of("--since", terms.pop("since")), end_of("--until", terms.pop("until"))
    page = await state.studio.find(text, since=since, until=until, **terms)
    if as_json:
        _print_json(page, state)
    else:
        for record in page.pictures:
            click.echo(path_text(record.path) if quiet else _line(record))
    for note in page.notes:
        click.echo(note, err=True)
    if not page.pictures:
        click.echo(f"No image in {path_text(state.studio.output_dir)} matches.", err=True)
    elif page.next_offset is not None:
        click.echo(f"There may be more: --offset {page.next_offset}", err=True)
    return 0 if page.pictures else 1


def _line(record: Record) -> str:
    prompt = one_line(record.prompt or "", limit=_PROMPT_WIDTH)
    seed = "" if record.seed is None else f"seed {record.seed}"
    return "  ".join(part for part in (path_text(record.path), str(record.size), seed, prompt) if part)


def _print_json(page: Page, state: State) -> None:
    """Print each image with the parameters that make it again, under the names of the tools."""
    from vllm_image_mcp.results.found_images import found_images  # noqa: PLC0415 - slow to import

    for each in found_images(page, folder=state.studio.output_dir).images:
        click.echo(json_line(each.model_dump(mode="json", exclude_none=True)))
