"""The `init` command: add this server to the configuration of an MCP host."""

from __future__ import annotations

import os
import sys
from functools import partial

import click
from vllm_image_core.text import path_text

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.hosts.change import CannotConfigure, entry_text, plan
from vllm_image_mcp.hosts.host import HOSTS, Host, UserFolders
from vllm_image_mcp.hosts.launch import Launch, UvNotFound, arguments, program, secrets
from vllm_image_mcp.options import GivenOptions, GroupedOptions, with_options


@click.command(cls=GroupedOptions)
@click.argument("mcp_host", metavar="HOST", type=click.Choice(sorted(HOSTS)))
@click.option("--name", default="vllm-image", show_default=True, help="Name of the server in the host.")
@click.option(
    "--from", "source", metavar="SOURCE", help="What `uvx` installs and runs: a folder, a wheel or a Git URL."
)
@click.option("--print", "print_only", is_flag=True, help="Print the configuration; change nothing.")
@click.option("--yes", is_flag=True, help="Make the change without asking.")
@shared_options.as_json
@partial(with_options, serves_mcp=True)
def init(
    given: GivenOptions,
    mcp_host: str,
    *,
    name: str,
    source: str | None,
    print_only: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Add this server to the configuration of an MCP host.

    The host starts the server with the options that you give here, or that the environment sets. You see the
    change before it is made; if a file is changed, a copy of the old one stays next to it.
    """
    chosen, folders = HOSTS[mcp_host], UserFolders.of_this_user(os.environ)
    try:
        launch = _launch(given, chosen, folders, source)
        if print_only:
            echo(f"{chosen.file(folders)}:", err=True)
            echo(launch.without_secrets(entry_text(chosen, name, launch, folders)))
            return
        change = plan(chosen, name, launch, folders)
        if as_json:
            if change.is_needed and not yes:
                raise click.UsageError("--json cannot ask; pass --yes, too.")
            if change.is_needed:
                change.make()
            values = {"host": mcp_host, "name": name, "file": path_text(chosen.file(folders))}
            echo(json_line({**values, "changed": change.is_needed}))
            return
        if not change.is_needed:
            echo(f"{chosen.title} already has this configuration.")
            return
        echo(launch.without_secrets(change.display_text()))
        if not yes:
            _confirm()
        echo(launch.without_secrets(change.make()))
    except (UvNotFound, CannotConfigure) as error:
        raise click.ClickException(str(error)) from error
    echo(f"{chosen.then} `vllm-image-mcp doctor` checks the server.")


def _launch(given: GivenOptions, host: Host, folders: UserFolders, source: str | None) -> Launch:
    """Return how the host starts the server with the settings that are given."""
    settings, sources = given.settings(), given.sources()
    # The host's server reads the usual settings file itself.
    names = [name for name, each in sources.items() if not each.in_file]
    words = list(arguments(settings, names))
    if "output_dir" not in sources and not host.runs_in_project:
        words += ["--output-dir", str(folders.pictures / "vllm-image")]
    if "structured_content" not in sources and not host.shows_structured_content:
        words.append("--no-structured-content")
    command, *fixed = program(source)
    return Launch(command=command, arguments=[*fixed, *words], environment=secrets(settings, names))


def _confirm() -> None:
    """Ask the user; without a terminal, nobody can answer."""
    if not sys.stdin.isatty():
        raise click.ClickException("Nothing was changed. Pass --yes to make this change.")
    if not click.confirm("Make this change?", default=True):
        raise click.ClickException("Nothing was changed.")
