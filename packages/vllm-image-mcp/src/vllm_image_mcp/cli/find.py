"""The `find` command: find earlier images in the output folder, newest first."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.batch_ids import full_batch_id
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.cli.progress_bar import ProgressBar
from vllm_image_mcp.command_line import echo, with_prompt
from vllm_image_mcp.dates import end_of, start_of
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vllm_image_core.storage.record import Record

    from vllm_image_mcp.settings import Settings

_USUAL: Final = 20
_MOST: Final = 1_000
_SHOWN_EVERY: Final = 5_000
_INTERNAL: Final = frozenset(("path", "modified_ns", "key"))
"""What the index knows of an image only to recognise it."""


@click.command(cls=GroupedOptions)
@click.argument("words", nargs=-1)
@click.option("--with-model", metavar="NAME", help="The model's exact name.")
@click.option("--seed", type=int, help="The image's seed.")
@click.option(
    "--since",
    metavar="DATE",
    help="Generated on or after this day (or `today`, `yesterday`), or at or after this time.",
)
@click.option("--until", metavar="DATE", help="Generated on or before this day, or before this time.")
@click.option("--batch", metavar="ID", help="The batch that the image belongs to.")
@click.option("--tag", metavar="TEXT", help="The image's exact tag.")
@click.option("--kept", is_flag=True, help="Only images that were kept; see `rate`.")
@click.option("--rejected", is_flag=True, help="Only rejected images, which are in the bin.")
@click.option("--stars", type=int, metavar="1-5", help="Only images with at least this many stars.")
@click.option(
    "--requests", is_flag=True, help="Print the settings of each with a new seed, as rows for `batch`."
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST),
    default=_USUAL,
    show_default=True,
    help="Number of images to list.",
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Number of newest images to skip.")
@shared_options.quiet
@shared_options.as_json
@with_settings
def find(
    settings: Settings,
    words: tuple[str, ...],
    *,
    with_model: str | None,
    since: str | None,
    until: str | None,
    kept: bool,
    rejected: bool,
    stars: int | None,
    requests: bool,
    quiet: bool,
    as_json: bool,
    **terms: Any,  # noqa: ANN401 - `Query` checks them
) -> None:
    """Find earlier images in the output folder, newest first.

    WORDS must all occur in an image's prompt, tag or file name; "sno*" finds "snow". For more images like
    those you kept: find --kept --requests | vllm-image-mcp batch --format jsonl -
    """
    from vllm_image_core.storage.query import Query  # noqa: PLC0415 - slow to import
    from vllm_image_core.storage.search import Search  # noqa: PLC0415 - likewise

    with report_errors(), ProgressBar("Reading new images") as bar:
        folder = State(settings, at_shell=True).folder
        folder.check()
        terms["batch"] = terms["batch"] and full_batch_id(folder.path, terms["batch"])
        page = Search(folder.path).find(
            Query(
                text=" ".join(words) or None,
                model=with_model,
                since=start_of("since", since),
                until=end_of("until", until),
                **terms,
            ),
            kept=kept,
            stars=stars,
            rejected=rejected,
            on_progress=_reporter(bar),
        )
        if requests:
            _print_requests(page.pictures)
            return
    for each in page.pictures:
        line = path_text(each.path) if quiet else _line(each)
        echo(json_line(_object(each)) if as_json else line)
    if not page.pictures:
        echo(f"No image in {path_text(folder.path)} matches.", err=True)
    if page.next_offset is not None:
        echo(f"There are more: --offset {page.next_offset} lists the next ones.", err=True)
    for note in page.notes:
        echo(note, err=True)


def _print_requests(records: Sequence[Record]) -> None:
    """Print the settings of images, with new seeds, as rows for `batch`."""
    from vllm_image_core.batch_file.columns import COLUMNS  # noqa: PLC0415 - slow to import
    from vllm_image_core.requests.limits import draw_seed  # noqa: PLC0415 - likewise
    from vllm_image_core.storage.search import requests_like  # noqa: PLC0415 - likewise

    generated = [each for each in records if each.operation != "edit"]
    if len(generated) < len(records):
        echo(f"{len(records) - len(generated)} edits are left out: a batch file has no images.", err=True)
    for each in requests_like(generated, count=1, draw_seed=draw_seed):
        values = {name: getattr(each, name, None) for name in COLUMNS}
        echo(json_line({name: value for name, value in values.items() if value is not None}))


def _reporter(bar: ProgressBar) -> Callable[[int, int], None]:
    """Return a function that reports progress: a bar on a terminal, otherwise a line from time to time."""

    def report(done: int, total: int) -> None:
        if done % _SHOWN_EVERY == 0 or done == total:
            echo(f"Read {done} of {total} new images.", err=True)

    return bar.update if bar.is_shown else report


def _object(each: Record) -> dict[str, object]:
    values = {field.name: getattr(each, field.name) for field in fields(each) if field.name not in _INTERNAL}
    return {"path": path_text(each.path), **values, "created": each.created.isoformat()}


def _line(each: Record) -> str:
    seed = "" if each.seed is None else f"  seed {each.seed}"
    created = each.created.astimezone()
    line = f"{path_text(each.path)}  {created:%Y-%m-%d %H:%M}  {each.size}{seed}"
    return with_prompt(line, each.prompt, limit=60)
