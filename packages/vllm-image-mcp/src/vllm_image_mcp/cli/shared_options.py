"""Define the options that several commands share, with one help text for each."""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import click
from vllm_image_core.models.quality import QUALITIES
from vllm_image_core.requests.limits import OUTPUT_FORMATS

__all__ = [
    "RANDOM_SEED",
    "Option",
    "as_json",
    "aspect_ratio",
    "filename",
    "fresh",
    "guidance_scale",
    "height",
    "negative_prompt",
    "none_if_random",
    "output_format",
    "quality",
    "seed",
    "steps",
    "width",
]


class _FileFormat(click.Choice[str]):
    """An output format, which may also be given as its usual extension: jpg means jpeg."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 - as click has it
        name = str(value).lower()
        return super().convert("jpeg" if name == "jpg" else name, param, ctx)


CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class Option(Protocol):
    """A decorator that gives a command one option."""

    def __call__(self, command: CommandT, /) -> CommandT:
        """Add the option to a command, and return the command."""
        ...


negative_prompt: Option = click.option(
    "--negative-prompt", metavar="TEXT", help="What to keep out of the image."
)
width: Option = click.option("--width", type=int, metavar="PIXELS", help="Image width in pixels.")
height: Option = click.option("--height", type=int, metavar="PIXELS", help="Image height in pixels.")
aspect_ratio: Option = click.option(
    "--aspect-ratio", metavar="W:H", help='Aspect ratio, such as "16:9"; overrides width and height.'
)
steps: Option = click.option(
    "--steps", "num_inference_steps", type=int, metavar="N", help="Number of inference steps."
)
guidance_scale: Option = click.option(
    "--guidance-scale", type=float, metavar="X", help="How closely to follow the prompt."
)
RANDOM_SEED: Final = -1
"""The seed that stands for a random one, as in the tools."""


def none_if_random(_: click.Context, __: click.Parameter, given: int | None) -> int | None:
    """Return None, which draws a random seed, for `RANDOM_SEED`."""
    return None if given == RANDOM_SEED else given


seed: Option = click.option(
    "--seed", type=int, metavar="N", callback=none_if_random, help="Seed. Default, and -1: random."
)
filename: Option = click.option("--filename", metavar="NAME", help="File name. Default: the time and a hash.")
output_format: Option = click.option(
    "--output-format",
    type=_FileFormat(OUTPUT_FORMATS, case_sensitive=False),
    help="File format. Default: png, the only lossless one.",
)
quality: Option = click.option(
    "--quality",
    type=click.Choice(QUALITIES, case_sensitive=False),
    help="Preset for any settings you omit; `standard` uses the model's defaults.",
)
fresh: Option = click.option(
    "--fresh", is_flag=True, help="Generate again, even if an image with this seed already exists."
)
as_json: Option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line on stdout."
)
