"""The `styles` command: list the saved styles, and show, save or remove one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions, with_settings
from vllm_image_mcp.startup import report_errors
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_image_core.requests.style import Style
    from vllm_image_core.requests.style_folder import Styles

    from vllm_image_mcp.settings import Settings


@click.command(cls=GroupedOptions)
@click.argument("action", type=click.Choice(["list", "show", "save", "remove"]), default="list")
@click.argument("name", required=False)
@click.option("--description", metavar="TEXT", default="", help="What it looks like, in a few words.")
@click.option("--prefix", metavar="TEXT", default="", help="Words before the prompt.")
@click.option("--suffix", metavar="TEXT", default="", help="Words after the prompt.")
@click.option("--negative-prompt", metavar="TEXT", default="", help="What to keep out of the image.")
@click.option(
    "--set",
    "own_settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting, such as guidance_scale=4 or lora=/loras/ink:0.8; can be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace a style that you saved under this name.")
@shared_options.as_json
@with_settings
def styles(
    settings: Settings,
    action: Literal["list", "show", "save", "remove"],
    name: str | None,
    *,
    description: str,
    prefix: str,
    suffix: str,
    negative_prompt: str,
    own_settings: Sequence[str],
    overwrite: bool,
    as_json: bool,
) -> None:
    r"""List the saved styles; show, save or remove one.

    \b
    vllm-image-mcp styles
    vllm-image-mcp styles show watercolor
    vllm-image-mcp styles save dusk --suffix ", at dusk, long shadows" --set guidance_scale=4
    vllm-image-mcp styles remove dusk

    A style is a TOML file; edit it for settings that only some models get.
    """
    saved = State(settings).styles
    if action == "list":
        _list(saved, as_json=as_json)
        return
    if name is None:
        raise click.UsageError(f"styles {action} needs the NAME of a style.")
    with report_errors():
        if action == "show":
            _show(saved.find(name), as_json=as_json)
        elif action == "remove":
            echo(f"Removed {saved.remove(name)}")
        else:
            from vllm_image_core.requests.style import Style  # noqa: PLC0415 - slow to import

            style = Style(
                name=name,
                description=description,
                prefix=prefix,
                suffix=suffix,
                negative_prompt=negative_prompt,
                settings=dict(map(_setting, own_settings)),
            )
            echo(str(saved.save(style, overwrite=overwrite)))


def _list(saved: Styles, *, as_json: bool) -> None:
    found = saved.all()
    width = max(len(each.name) for each in found)
    for each in found:
        own = saved.is_own(each.name)
        if as_json:
            echo(json_line({"name": each.name, "description": each.description, "own": own}))
        else:
            mark = "*" if own else " "
            echo(f"{each.name.ljust(width)} {mark} {each.description}".rstrip())


def _show(style: Style, *, as_json: bool) -> None:
    table = {"name": style.name, **style.as_table()}
    if as_json:
        echo(json_line(table))
        return
    import tomlkit  # noqa: PLC0415 - slow to import

    echo(tomlkit.dumps(table).rstrip())


def _setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE; a value that does not suit the parameter is refused when the style is saved."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: write NAME=VALUE, such as guidance_scale=4.")
    full, [setting] = shared_options.parameter_values(name.strip(), [value.strip()])
    return full, setting
