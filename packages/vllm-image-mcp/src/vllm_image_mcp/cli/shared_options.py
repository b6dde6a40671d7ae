"""Define the options that several commands share, with one help text for each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import click

from vllm_image_mcp.cli.batch_ids import full_batch_id, is_batch_id
from vllm_image_mcp.command_line import PathArgument

if TYPE_CHECKING:
    from vllm_image_core.requests.expansion import Variations
    from vllm_image_core.requests.fields import RequestField, Surface

_RANGE: Final = re.compile(r"(-?\d+)\.\.(-?\d+)", re.ASCII)
_SEVERAL: Final = re.compile(r"-?[\d.]+(?:(?:,|\.\.)-?[\d.]+)+", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:", re.IGNORECASE)


class ImagePath(PathArgument):
    """The path of an image file; a URL stays as typed, because a path would lose one of its slashes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, D102 - click's own
        if isinstance(value, str) and _ADDRESS.match(value):
            return value
        return super().convert(value, param, ctx)


class FormatChoice(click.Choice[str]):
    """A choice; an output format may also be given as its usual extension: jpg means jpeg."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 - as click has it
        """Return the choice that is meant."""
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
    from vllm_image_core.requests.fields import RANDOM_SEED  # noqa: PLC0415 - commands that only read need none

    return None if given == RANDOM_SEED else given


def request_options(command: Surface) -> Option:
    """Return a decorator that gives a command an option for each request field that it has."""
    from vllm_image_core.requests.fields import fields_shown_in  # noqa: PLC0415 - likewise

    def add_options(function: CommandT) -> CommandT:
        for each in reversed(fields_shown_in(command)):
            function = _option(each)(function)
        return function

    return add_options


def variation_options(function: CommandT) -> CommandT:
    """Give a command the options that vary its prompts; they arrive as a `Variations`, and `dry_run`."""
    options = (
        click.option("-n", "--count", type=int, metavar="N", help="Images per prompt, with different seeds."),
        click.option(
            "--sweep",
            multiple=True,
            metavar="NAME=A,B,...",
            callback=_sweep,
            help="Values of a parameter, of size, or of words in the prompt: seed=1..4, "
            "size=512x512,768x512, red=red,blue, or a JSON list. Repeat it for all combinations.",
        ),
        click.option("--zip", is_flag=True, help="Pair the swept values instead of combining them."),
        click.option("--wildcards", is_flag=True, help="Expand {red|blue} and __file__ in prompts."),
        click.option("--dry-run", is_flag=True, help="Only check, and estimate images, time and disk space."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def take_variations(options: dict[str, Any]) -> Variations:
    """Remove the options of `variation_options` from a command's other options, and return them."""
    from vllm_image_core.requests.expansion import Variations  # noqa: PLC0415 - likewise

    return Variations(**{each.name: options.pop(each.name) for each in fields(Variations)})


def chosen_images(given: tuple[str, ...], folder: Path) -> tuple[str | list[str], list[int]]:
    """Return the image files that a command names; or the id of a folder's batch, and its images' numbers."""
    first, *numbers = given
    if not is_batch_id(first):
        return [_image_in(folder, each) for each in given], []
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise click.BadParameter("Give the numbers of the batch's images, such as 2 5.")
    return full_batch_id(folder, first), [int(number) for number in numbers]


def _image_in(folder: Path, given: str) -> str:
    """Return the path in the output folder of an image that is given by its path from the working folder."""
    path = Path(given)
    if (folder / path).is_file() or not path.is_file():
        return given
    root, place = folder.resolve(), path.parent.resolve()
    return str(folder / place.relative_to(root) / path.name) if place.is_relative_to(root) else given


def _sweep(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, list[object]] | None:
    """Read the values of each --sweep; None if there is none."""
    found: dict[str, list[object]] = {}
    for each in given:
        name, separator, text = each.partition("=")
        if not (separator and name and text):
            raise click.BadParameter(f"{each!r} is not NAME=A,B,...; use seed=1,2,3, for example.")
        name, values = parameter_values(name, _values(text))
        found[name] = values
    return found or None


def parameter_values(name: str, values: Sequence[object]) -> tuple[str, list[object]]:
    """Return a parameter's full name, and its values as numbers if it takes numbers and they are some.

    What does not suit the parameter stays as it is, and is refused later.
    """
    from vllm_image_core.requests.fields import REQUEST_FIELDS, SHORT_NAMES  # noqa: PLC0415 - slow to import

    full = SHORT_NAMES.get(name, name)
    kind = next((field.kind for field in REQUEST_FIELDS if field.name == full), "text")
    return full, [_number(value, kind) for value in values]


def _values(text: str) -> list[object]:
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a JSON list: {error}.") from error
        return cast("list[object]", listed)
    if numbers := _RANGE.fullmatch(text):
        from vllm_image_core.requests.sweep import MOST_IMAGES  # noqa: PLC0415 - likewise

        first, last = int(numbers[1]), int(numbers[2])
        if last - first >= MOST_IMAGES:
            raise click.BadParameter(
                f"{text} has {last - first + 1} values; a batch takes at most {MOST_IMAGES} images."
            )
        return list(range(first, last + 1))
    return [value.strip() for value in text.split(",")]


def _number(value: object, kind: str) -> object:
    """A value as a number, if its parameter takes numbers and it is one; otherwise it is refused later."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return {"integer": int, "number": float}.get(kind, str)(value)
    return value


def _option(field: RequestField) -> Option:
    kinds: dict[str, Any] = {
        "integer": _one_number(click.INT, field.name),
        "number": _one_number(click.FLOAT, field.name),
        "boolean": bool,
        "image": ImagePath(),
    }
    return click.option(
        field.option or f"--{field.name.replace('_', '-')}",
        field.name,
        type=FormatChoice(field.choices, case_sensitive=False) if field.choices else kinds.get(field.kind),
        metavar=field.placeholder,
        callback=none_if_random if field.name == "seed" else None,
        help=field.help_text,
    )


def _one_number(number: click.ParamType[Any, Any], name: str) -> Callable[[str], object]:
    """Read the one number that an option takes; for a list of numbers, name the command that takes one."""

    def read(given: str) -> object:
        try:
            return number.convert(given, None, None)
        except click.BadParameter as error:
            if not _SEVERAL.fullmatch(given):
                raise
            from vllm_image_core.requests.fields import field_named  # noqa: PLC0415 - slow to import

            axis = (field_named(name).short.split() or [name])[0]
            hint = f"For several, use `vllm-image-mcp sweep PROMPT --sweep {axis}={given}`."
            raise click.BadParameter(f"{error.message} {hint}") from error

    return read


count: Option = click.option(
    "-n",
    "--count",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Images to generate, with different seeds.",
)
output_file: Option = click.option(
    "-o",
    "output_file",
    metavar="FILE",
    type=PathArgument(),
    help="Also save the image as this file, in the format of its extension; several are numbered.",
)
fresh: Option = click.option(
    "--fresh", is_flag=True, help="Generate again, even if an image with this seed already exists."
)
as_json: Option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line on stdout."
)
quiet: Option = click.option("-q", "--quiet", is_flag=True, help="Print only the paths of images.")
open_image: Option = click.option(
    "--open", "open_image", is_flag=True, help="Open the image, or the first of several, in the viewer."
)
open_page: Option = click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
