"""The `health` command: check whether the servers can generate images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_image_mcp.cli.command import run
from vllm_image_mcp.error_messages import diagnosis, sentence
from vllm_image_mcp.options import with_settings

if TYPE_CHECKING:
    from vllm_image_core.fleet.health import Health
    from vllm_image_core.fleet.server import ServerReport

    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.state import State


@click.command()
@with_settings
def health(settings: Settings) -> None:
    """Check whether the server can generate images.

    The exit status is 1 if it cannot.
    """
    run(settings, _health)


async def _health(state: State) -> int:
    report = await state.studio.health()
    _show_health(report)
    if len(state.studio.servers) > 1:
        _show_servers(state.studio.servers)
    return 0 if report.status == "healthy" else 1


def _show_health(report: Health) -> None:
    seconds = report.latency_seconds
    facts = {
        "server": report.server_url,
        "status": report.status,
        "model": report.model or "none",
        "answer": "none" if seconds is None else f"in {seconds * 1000:.0f} ms",
        "version": report.version or "unknown",
    }
    for name, fact in facts.items():
        click.echo(f"{name:<8} {fact}")
    if why := diagnosis(report):
        click.echo(why, err=True)


def _show_servers(servers: tuple[ServerReport, ...]) -> None:
    """Print one line for each server, and on stderr why a server is out of use."""
    for each in servers:
        state = {"closed": "in", "trial": "in again", "open": "out", "unknown": "not asked"}[each.state]
        click.echo(f"  {each.url}  {state}  {each.model or 'no model'}  {each.version or 'unknown version'}")
        if why := each.note or (sentence(each.error) if each.error else ""):
            click.echo(why, err=True)
