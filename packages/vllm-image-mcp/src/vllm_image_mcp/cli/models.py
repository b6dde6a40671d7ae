"""The `models` command: list the known models, show one with its sources, or check your own profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import brief

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import PathArgument, echo, line_width
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.models.profile import Profile

    from vllm_image_mcp.settings import Settings


@click.command(cls=GroupedOptions)
@click.argument("name", required=False)
@click.option("--check", "file", metavar="FILE", type=PathArgument(), help="Check your own profiles.")
@shared_options.as_json
@with_settings
def models(settings: Settings, name: str | None, file: Path | None, *, as_json: bool) -> None:
    """List the known models, or show one with its sources.

    NAME is a model's name, or a part of it: "klein" lists the models with klein in their names. MEMORY is
    what one image needs, weights included; INPUTS is how many images an edit takes, with "(edit)" for models
    that only edit.
    """
    from vllm_image_core.models.loader import read_profiles  # noqa: PLC0415 - slow to import

    from vllm_image_mcp.cli import model_card  # noqa: PLC0415 - slow to import

    with report_errors():
        registry = State(settings).registry
        if file is not None:
            known_profiles = {each.model: each for each in (*registry, registry.fallback)}
            for each in read_profiles(file, known=known_profiles):
                valid = {"model": each.model, "valid": True}
                echo(json_line(valid) if as_json else f"{each.model}: the profile is valid.")
            if name is None:
                return
        profile = None if name is None else registry.by_name(name)
        found = [profile] if profile else [each for each in registry if _matches(each, name)]
        if not found:
            known = "`vllm-image-mcp models` lists them"
            raise click.UsageError(f"No profile is named {brief(name)}; {known}.")
        if as_json:
            for each in found:
                echo(json_line(each.model_dump(mode="json")))
        elif name is not None and len(found) == 1:
            echo(model_card.full(found[0], line_width()))
        else:
            header, *rows = model_card.table(found, line_width())
            echo(click.style(header, bold=True))
            for row in rows:
                echo(row)


def _matches(profile: Profile, part: str | None) -> bool:
    """Whether a model's name or one of its aliases contains a string; None matches every model."""
    names = (profile.model, *profile.aliases)
    return part is None or any(part.lower() in name.lower() for name in names)
