"""Define the options that the server and every command share, and build Settings from them."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vllm_image_mcp.settings import Settings

__all__ = ["how_to_resume", "with_settings"]

Command = TypeVar("Command", bound=Callable[..., Any])


def _none_for_none(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Turn the empty tuple of a repeatable option that was not given into None."""
    return given or None


def _with_commas(_context: click.Context, _option: click.Parameter, urls: tuple[str, ...]) -> str | None:
    """Join several addresses with commas, as in the environment; None if none was given."""
    return ",".join(urls) or None


_OPTIONS = (
    click.option(
        "--vllm-url",
        metavar="URL",
        multiple=True,
        callback=_with_commas,
        help="Address of the vLLM-Omni server; repeat it to use several as one.  [http://localhost:6655]",
    ),
    click.option("--output-dir", metavar="DIR", help="Folder to save images in.  [./generated_images]"),
    click.option("--max-concurrent", metavar="N|auto", help="Images of a batch to generate at once.  [auto]"),
    click.option(
        "--timeout", metavar="SECONDS", help="Time limit for one image, including the queue.  [300]"
    ),
    click.option("--api-key", metavar="KEY", help="The server's API key; prefer VLLM_IMAGE_API_KEY."),
    click.option("--demo", is_flag=True, default=None, help="Simulate the server; no GPU needed."),
    click.option("--gpu-name", metavar="NAME", help="Name of the server's GPU, for gpu_status."),
    click.option("--gpu-vram-gb", metavar="GB", help="Memory of that GPU, for gpu_status and batches."),
    click.option(
        "--allow-dir",
        metavar="DIR",
        multiple=True,
        callback=_none_for_none,
        help="Folder that edit_image may read besides the output folder; can be repeated.",
    ),
    click.option("--profiles", metavar="PATH", help="Your own model profiles: a TOML file or a folder."),
    click.option(
        "--metadata", metavar="WHAT", help="File metadata: all, public (no prompts) or none.  [all]"
    ),
    click.option("--preview", metavar="SIZE", help="Preview in results: none, small or large.  [small]"),
    click.option(
        "--structured-content/--no-structured-content",
        default=None,
        help="Structured content in results; turn it off for hosts that then drop images.  [on]",
    ),
    click.option("--max-wait", metavar="SECONDS|auto", help="How long a call waits for images.  [auto]"),
    click.option("--confirm-over", metavar="SECONDS", help="Ask before a batch whose estimate is longer."),
    click.option("--resume", is_flag=True, default=None, help="Resume interrupted batches at startup."),
    click.option("--log-level", metavar="LEVEL", help="Log level: DEBUG, INFO, WARNING or ERROR.  [WARNING]"),
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
    """Add the shared options to a command, and pass the ``Settings`` they make as its first argument.

    Options after the command's name override those before it, and both override the environment.
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
    """Return the command line that resumes a batch with the current options, without the API key.

    Args:
        batch_id: The batch to resume.
        as_json: Add ``--json``.
    """
    context = click.get_current_context(silent=True)
    given: Mapping[str, Any] = (context.obj if context else None) or {}
    words = ["vllm-image-mcp", "resume", batch_id, *_as_typed(given), *(["--json"] if as_json else [])]
    command = subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
    key = "Set VLLM_IMAGE_API_KEY first; the key is not shown here. " if "api_key" in given else ""
    return f"{key}To resume: {command}"


def _as_typed(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield the shared options that were given, as the user would type them."""
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
    """Return an option and its value, joined by "=" if the value looks like an option itself."""
    return (f"{option}={value}",) if value.startswith("-") else (option, value)


def _settings(given: dict[str, Any]) -> Settings:
    from pydantic import ValidationError  # noqa: PLC0415 - --help and --version need no settings

    from vllm_image_mcp.settings import Settings  # noqa: PLC0415 - likewise

    try:
        return Settings.from_arguments(**given)
    except ValidationError as error:
        wrong = "; ".join(
            f"--{str(each['loc'][0]).replace('_', '-')}: {_in_words(each['msg'])}"
            for each in error.errors(include_input=False)
        )
        raise click.UsageError(wrong) from error


def _in_words(message: str) -> str:
    """Shorten a message of pydantic, which speaks of an input to parse."""
    message = message.removeprefix("Value error, ").partition(", unable to ")[0]
    return message.replace("Input should be", "must be")
