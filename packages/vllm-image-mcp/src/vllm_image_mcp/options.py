"""The options that the server and every command share, before or after the command's name."""

import functools
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from vllm_image_mcp.settings import Settings

__all__ = ["how_to_resume", "with_settings"]

Command = TypeVar("Command", bound=Callable[..., Any])


def _none_for_none(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """An option that may be given again is "not given" as an empty tuple."""
    return given or None


def _with_commas(_context: click.Context, _option: click.Parameter, urls: tuple[str, ...]) -> str | None:
    """Several addresses as they stand in the environment; None where none was given."""
    return ",".join(urls) or None


_OPTIONS = (
    click.option(
        "--vllm-url",
        metavar="URL",
        multiple=True,
        callback=_with_commas,
        help="The vLLM-Omni server; several times for several servers as one.  [http://localhost:6655]",
    ),
    click.option("--output-dir", metavar="DIR", help="Where pictures are saved.  [./generated_images]"),
    click.option("--max-concurrent", metavar="N|auto", help="Pictures of a batch under way at once.  [auto]"),
    click.option(
        "--timeout", metavar="SECONDS", help="How long one picture may take, queue included.  [300]"
    ),
    click.option("--api-key", metavar="KEY", help="The server's API key; better in VLLM_IMAGE_API_KEY."),
    click.option("--demo", is_flag=True, default=None, help="Simulated pictures: no server, no GPU."),
    click.option("--gpu-name", metavar="NAME", help="The server's card, for gpu_status."),
    click.option("--gpu-vram-gb", metavar="GB", help="The card's memory, for gpu_status and batches."),
    click.option(
        "--allow-dir",
        metavar="DIR",
        multiple=True,
        callback=_none_for_none,
        help="A folder that edit_image may read, beside the output folder; may be given again.",
    ),
    click.option("--profiles", metavar="PATH", help="Your own model profiles: a TOML file or a folder."),
    click.option("--metadata", metavar="WHAT", help="In the files: all, public (no prompts) or none.  [all]"),
    click.option("--preview", metavar="SIZE", help="What results show: none, small or large.  [small]"),
    click.option(
        "--structured-content/--no-structured-content",
        default=None,
        help="Leave structured content out for hosts that drop pictures beside it.  [on]",
    ),
    click.option("--max-wait", metavar="SECONDS|auto", help="How long a call waits for pictures.  [auto]"),
    click.option("--confirm-over", metavar="SECONDS", help="Ask before batches estimated to take longer."),
    click.option("--resume", is_flag=True, default=None, help="Go on with batches that were cut off."),
    click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR, to stderr.  [WARNING]"),
)
_NAMES = (
    "vllm_url",
    "output_dir",
    "max_concurrent",
    "timeout",
    "api_key",
    "demo",
    "gpu_name",
    "gpu_vram_gb",
    "allow_dir",
    "profiles",
    "metadata",
    "preview",
    "structured_content",
    "max_wait",
    "confirm_over",
    "resume",
    "log_level",
)


def with_settings(command: Command) -> Command:
    """Give a command the shared options, and the ``Settings`` made of them as its first argument.

    What stands after the command's name wins over what stands before it, and both over the environment.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click passes what the command declares
        context = click.get_current_context()
        given = {name: value for name in _NAMES if (value := kwargs.pop(name)) is not None}
        context.obj = {**(context.obj or {}), **given}
        return command(_settings(context.obj), *args, **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # pyright: ignore[reportReturnType] - click's decorators keep the signature at run time


def how_to_resume(batch_id: str, *, as_json: bool = False) -> str:
    """How to go on with a batch, with the options that this command was given; the API key is not shown.

    Args:
        batch_id: Which batch.
        as_json: Whether it was asked for JSON.
    """
    context = click.get_current_context(silent=True)
    given: Mapping[str, Any] = (context.obj if context else None) or {}
    words = ["vllm-image-mcp", "resume", batch_id, *_as_typed(given), *(["--json"] if as_json else [])]
    command = subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
    key = "Set VLLM_IMAGE_API_KEY first: the API key is not shown. " if "api_key" in given else ""
    return f"{key}Go on with: {command}"


def _as_typed(given: Mapping[str, Any]) -> Iterator[str]:
    """The shared options that were given, as they are typed."""
    for name in _NAMES:
        option, value = f"--{name.replace('_', '-')}", given.get(name)
        match value:
            case None:
                pass
            case _ if name == "api_key":
                pass
            case bool():
                yield option if value else f"--no-{option[2:]}"
            case tuple():
                for each in value:  # pyright: ignore[reportUnknownVariableType] - texts, by their options
                    yield from _with_value(option, str(each))  # pyright: ignore[reportUnknownArgumentType]
            case _ if name == "vllm_url":
                for each in str(value).split(","):
                    yield from _with_value(option, each)
            case _:
                yield from _with_value(option, str(value))


def _with_value(option: str, value: str) -> tuple[str, ...]:
    """An option with its value; one that begins with a dash must not be taken for an option."""
    return (f"{option}={value}",) if value.startswith("-") else (option, value)


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings.from_arguments(**given)
    except ValidationError as error:
        wrong = "; ".join(
            f"{_option(each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_input=False)
        )
        raise click.UsageError(wrong) from error


def _option(place: tuple[int | str, ...]) -> str:
    name = str(place[0]).removeprefix("VLLM_IMAGE_").lower() if place else "options"
    return "--vllm-url" if name == "url" else f"--{name.replace('_', '-')}"
