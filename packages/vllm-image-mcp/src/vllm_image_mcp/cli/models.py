"""The `models` command: list the known models, show one with its sources, or check your own profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import brief

from vllm_image_mcp.command_line import PathArgument, echo
from vllm_image_mcp.options import with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings


@click.command()
@click.argument("name", required=False)
@click.option("--check", "file", metavar="FILE", type=PathArgument(), help="Check your own profiles.")
@with_settings
def models(settings: Settings, name: str | None, file: Path | None) -> None:
    """List the known models, or show one with its sources."""
    from vllm_image_core.models.loader import read_profiles  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli import model_card  # noqa: PLC0415 - slow to import

    with report_errors():
        registry = State(settings).registry
        if file is not None:
            known_profiles = {each.model: each for each in (*registry, registry.fallback)}
            for each in read_profiles(file, known=known_profiles):
                echo(f"{each.model}: the profile is valid.")
        if name is not None:
            profile = registry.by_name(name)
            if profile is None:
                known = "`vllm-image-mcp models` lists them"
                raise click.UsageError(f"No profile is named {brief(name)}; {known}.")
            echo(model_card.full(profile))
        if name is None and file is None:
            for each in registry:
                echo(model_card.brief(each))
