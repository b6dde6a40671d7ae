"""The `recall` command: read from an image's file how it was made, and print the command to repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from vllm_image_core.text import one_line

from vllm_image_mcp.cli import shared_options
from vllm_image_mcp.cli.command import with_state
from vllm_image_mcp.cli.json_line import json_line
from vllm_image_mcp.command_line import PathArgument, echo, shell_command
from vllm_image_mcp.options import GroupedOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vllm_image_core.provenance.recall import RecalledRequest

    from vllm_image_mcp.state import State

    Value = str | int | float | bool


@click.command(cls=GroupedOptions)
@click.argument("file", type=PathArgument())
@shared_options.as_json
@with_state
async def recall(state: State, file: Path, *, as_json: bool) -> int:
    """Show how an image was made, as recorded in its file.

    FILE may be an image of this program, or of AUTOMATIC1111, Forge, ComfyUI, InvokeAI, Fooocus, NovelAI and
    others. The last line is the command that makes the image again. The exit status is 1 if the file does not
    say how it was made.
    """
    recalled = await state.studio.recall(file)
    given = _given(recalled)
    style = None if recalled.request.style is None else str(recalled.request.style)
    if as_json:
        about = {"tool": recalled.tool, "model": recalled.model, "style": style, "parameters": given}
        extra = {"settings": dict(recalled.settings), "notes": list(recalled.notes)}
        echo(json_line({**about, **extra}))
        return 0
    about = {"made by": recalled.tool, "model": recalled.model or "not recorded"}
    if style is not None:
        about["style"] = f"{style} (its words and settings are among these)"
    facts = {**about, **_by_option(given), **recalled.settings}
    width = max(map(len, facts))
    for name, value in facts.items():
        echo(f"{name:<{width}}  {one_line(str(value), limit=2_000)}")
    for note in recalled.notes:
        echo(note, err=True)
    echo(shell_command(_command(recalled, given)))
    return 0


def _given(recalled: RecalledRequest) -> dict[str, Value]:
    """Return the parameters that the file records, by their names in the tools."""
    from vllm_image_core.requests.fields import REQUEST_FIELDS  # noqa: PLC0415 - slow to import

    values = {each.name: getattr(recalled.request, each.name, None) for each in REQUEST_FIELDS}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, str | int | float) and name != "filename"
    }


def _by_option(given: Mapping[str, Value]) -> dict[str, Value]:
    """Name the parameters as the shell does: ``steps``, not ``num_inference_steps``."""
    from vllm_image_core.requests.fields import REQUEST_FIELDS  # noqa: PLC0415 - slow to import

    options = {each.name: each.option for each in REQUEST_FIELDS}
    return {(options[name] or name).removeprefix("--"): value for name, value in given.items()}


def _command(recalled: RecalledRequest, given: Mapping[str, Value]) -> Iterator[str]:
    """Yield the words of the command line that makes the image again."""
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - slow to import
    from vllm_image_core.requests.fields import fields_shown_in  # noqa: PLC0415 - slow to import

    name = "edit" if isinstance(recalled.request, EditRequest) else "generate"
    yield from ("vllm-image-mcp", name, str(given.get("prompt", "")))
    if name == "edit":
        yield from (each.name or "IMAGE" for each in recalled.inputs if each.role == "image")
    for field in fields_shown_in("edit" if name == "edit" else "generate"):
        if field.name in given and field.name != "prompt":
            yield from (field.option or f"--{field.name.replace('_', '-')}", str(given[field.name]))
