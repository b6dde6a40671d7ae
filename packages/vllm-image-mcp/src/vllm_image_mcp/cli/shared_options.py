"""Define the options that several commands share, with one help text for each."""

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import click
from vllm_image_core.requests.fields import RANDOM_SEED, RequestField, Surface, fields_shown_in

from vllm_image_mcp.command_line import PathArgument

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", re.IGNORECASE)


class ImagePath(PathArgument):
    """The path of an image file; a URL stays as typed, because a path would lose one of its slashes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, D102 - click's own
        if isinstance(value, str) and _ADDRESS.match(value):
            return value
        return super().convert(value, param, ctx)


class _Choice(click.Choice[str]):
    """A choice; an output format may also be given as its usual extension: jpg means jpeg."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 - as click has it
        name = str(value).lower()
        return super().convert("jpeg" if name == "jpg" else name, param, ctx)


CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class Option(Protocol):
    """A decorator that gives a command one option."""

    def __call__(self, command: CommandT, /) -> CommandT:
        """Add the option to a command, and return the command."""
        ...


def none_if_random(_: click.Context, __: click.Parameter, given: int | None) -> int | None:
    """Return None, which draws a random seed, for `RANDOM_SEED`."""
    return None if given == RANDOM_SEED else given


def request_options(command: Surface) -> Option:
    """Return a decorator that gives a command an option for each request field that it has."""

    def add_options(function: CommandT) -> CommandT:
        for each in reversed(fields_shown_in(command)):
            function = _option(each)(function)
        return function

    return add_options


def _option(field: RequestField) -> Option:
    kinds: dict[str, Any] = {
        "integer": int,
        "number": float,
        "boolean": bool,
        "image": ImagePath(),
    }
    return click.option(
        field.option or f"--{field.name.replace('_', '-')}",
        field.name,
        type=_Choice(field.choices, case_sensitive=False) if field.choices else kinds.get(field.kind),
        metavar=field.placeholder,
        callback=none_if_random if field.name == "seed" else None,
        help=field.help_text,
    )


fresh: Option = click.option(
    "--fresh", is_flag=True, help="Generate again, even if an image with this seed already exists."
)
as_json: Option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line on stdout."
)
quiet: Option = click.option("-q", "--quiet", is_flag=True, help="Print only the paths of images.")
open_image: Option = click.option(
    "--open", "open_image", is_flag=True, help="Open the image in the system's viewer."
)
open_page: Option = click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
