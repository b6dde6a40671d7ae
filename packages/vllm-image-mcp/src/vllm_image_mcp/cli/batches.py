"""The `batches` command: list the batches of the output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo, line_width, with_prompt
from vllm_image_mcp.error_messages import with_command_names
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.batches.summary import BatchSummary

    from vllm_image_mcp.settings import Settings

_FIELDS = ("id", "state", "prompt", "total", "waiting", "running", "done", "failed", "cancelled", "reused")
"""The attributes of a summary that ``--json`` prints as they are."""

_SHORT_ID = len("batch_") + 8
_COLOURS = {
    "done": "green",
    "failed": "red",
    "partial": "yellow",
    "interrupted": "yellow",
    "stopped": "yellow",
}
"""The colours of states on a terminal."""


@click.command(cls=GroupedOptions)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    help="Number of batches to list.",
)
@shared_options.as_json
@with_settings
def batches(settings: Settings, *, limit: int, as_json: bool) -> None:
    """List the batches in the output folder, newest first.

    A terminal shows the start of each id, which every command takes if only one batch has it.
    """
    from vllm_image_core.batches.journal import Journal  # noqa: PLC0415 - slow to import

    with report_errors():
        folder = State(settings, at_shell=True).folder
        folder.check()
        found = Journal(folder.path).batches(limit)
    for each in found:
        fields = {name: getattr(each, name) for name in _FIELDS}
        cause = with_command_names(each.cause) if each.cause else None
        in_full = {**fields, "cause": cause, "created": each.created.isoformat()}
        echo(json_line(in_full) if as_json else _line(each))
    if not found:
        echo(f"There are no batches in {path_text(folder.path)}.", err=True)


def _line(each: BatchSummary) -> str:
    counts = f"{each.done}/{each.total if each.total is not None else '?'}"
    failed = f", {each.failed} failed" if each.failed else ""
    state = click.style(f"{each.state:<11}", fg=_COLOURS.get(each.state))
    batch_id = each.id if line_width() is None else each.id[:_SHORT_ID]
    line = f"{batch_id}  {each.created:%Y-%m-%d %H:%M}  {state} {counts}{failed}"
    return with_prompt(line, each.prompt, limit=40)
