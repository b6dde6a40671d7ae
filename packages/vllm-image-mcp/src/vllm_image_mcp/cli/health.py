"""The `health` command: check whether the servers can generate images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.error_messages import diagnosis, sentence
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from vllm_image_core.fleet.server import ServerReport

    from vllm_image_mcp.state import State


@click.command(cls=GroupedOptions)
@shared_options.as_json
@with_state
async def health(state: State, *, as_json: bool) -> int:
    """Check whether the server can generate images.

    The exit status is 1 if it cannot.
    """
    report = await state.studio.health()
    if as_json:
        from vllm_image_mcp.results.image_results import server_health  # noqa: PLC0415 - slow to import

        echo(json_line(server_health(report).model_dump(mode="json")))
        return 0 if report.status == "healthy" else 1
    seconds = report.latency_seconds
    echo(f"server   {report.server_url}")
    echo(f"status   {click.style(report.status, fg='green' if report.status == 'healthy' else 'red')}")
    echo(f"model    {report.model or 'none'}")
    echo(f"answer   {'none' if seconds is None else f'in {seconds * 1000:.0f} ms'}")
    echo(f"version  {report.version or 'unknown'}")
    if why := diagnosis(report):
        echo(why, err=True)
    if len(state.studio.servers) > 1:
        _show_servers(state.studio.servers)
    return 0 if report.status == "healthy" else 1


def _show_servers(servers: tuple[ServerReport, ...]) -> None:
    """Print one line for each server, and on stderr why a server is out of use."""
    for each in servers:
        state = {"closed": "in", "trial": "in again", "open": "out", "unknown": "not asked"}[each.state]
        echo(f"  {each.url}  {state}  {each.model or 'no model'}  {each.version or 'unknown version'}")
        if why := each.note or (sentence(each.error) if each.error else ""):
            echo(why, err=True)
