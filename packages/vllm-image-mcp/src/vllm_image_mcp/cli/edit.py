"""The command `edit`: change a picture, or combine several, from a shell."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vllm_image_core.models.settings import QUALITIES
from vllm_image_core.text import path_text

from vllm_image_mcp.options import with_settings
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.requests.generated_image import GeneratedImage

__all__ = ["edit_command"]

Run = Callable[[Settings, Callable[[State], Coroutine[None, None, int]]], None]


class _Picture(click.Path):
    """A file; an address stays as it was typed, for the message that refuses it."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401 - as click has it
        if isinstance(value, str) and _ADDRESS.match(value):
            return value
        return super().convert(value, param, ctx)


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", re.IGNORECASE)
_PICTURE = _Picture(path_type=Path)


def edit_command(run: Run, show: Callable[[GeneratedImage, tuple[str, ...]], None]) -> click.Command:
    """The command, over the command line's own ways to do a job and to show a picture.

    Args:
        run: Does a job with a state of its own, and tells an expected failure.
        show: Prints where a picture is, and what there is to say about it.
    """

    @click.command()
    @click.argument("prompt")
    @click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=_PICTURE)
    @click.option("--mask", type=_PICTURE, metavar="FILE", help="White where the picture may change.")
    @click.option("--reference-image", type=_PICTURE, metavar="FILE", help="A picture to take over from.")
    @click.option("--strength", type=float, metavar="X", help="0 to 1: how far it may go from the picture.")
    @click.option("--layers", type=int, metavar="N", help="2 to 10, for models that take a picture apart.")
    @click.option("--resolution", type=int, metavar="N", help="640 or 1024, likewise; in place of a size.")
    @click.option("--negative-prompt", metavar="TEXT", help="What to avoid.")
    @click.option("--width", type=int, metavar="PIXELS")
    @click.option("--height", type=int, metavar="PIXELS")
    @click.option("--aspect-ratio", metavar="W:H", help='Such as "16:9"; wins over width and height.')
    @click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Inference steps.")
    @click.option("--guidance-scale", type=float, metavar="X")
    @click.option("--seed", type=int, metavar="N")
    @click.option("--filename", metavar="NAME")
    @click.option("--quality", type=click.Choice(QUALITIES, case_sensitive=False))
    @click.option("--fresh", is_flag=True, help="Make it anew, also when it was made with that seed before.")
    @with_settings
    def edit(settings: Settings, prompt: str, *, fresh: bool, **parameters: Any) -> None:  # noqa: ANN401 - click's options, by name
        """Change a picture, or combine up to 4, as PROMPT says; the result has the size of the first."""
        run(settings, lambda state: _edit(state, show, prompt, fresh=fresh, **parameters))

    return edit


async def _edit(
    state: State,
    show: Callable[[GeneratedImage, tuple[str, ...]], None],
    prompt: str,
    *,
    fresh: bool,
    **parameters: Any,  # noqa: ANN401 - click's options, by name
) -> int:
    from vllm_image_core.requests.edit_request import EditRequest  # noqa: PLC0415 - the server starts without it

    from vllm_image_mcp.cli.single_image import generate_at_shell  # noqa: PLC0415 - likewise

    made = await generate_at_shell(state, EditRequest(prompt=prompt, **parameters), fresh=fresh)
    if isinstance(made, int):
        return made
    show(made, state.notes)
    for layer in made.layers:
        click.echo(path_text(layer))
    return 1 if made.spilled else 0
