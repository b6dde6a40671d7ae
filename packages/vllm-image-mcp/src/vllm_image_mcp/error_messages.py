"""Write the text of errors for a model or a person: what happened, what is allowed, what to do next."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import click
from vllm_image_core.errors import ImageError, InvalidRequest, UnknownBatch
from vllm_image_core.text import message_of, one_line
from vllm_omni_client.errors import OmniError, OutOfGpuMemory, ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError
    from vllm_image_core.fleet.health import Health
    from vllm_image_core.models.registry import Registry

_MODELS_NAMED = 4
_SWEEP = "sweep"
_OUT_OF_MEMORY = (
    "Server returned out-of-memory error. Try reducing resolution or use `gpu_status` "
    "to check available memory."
)
_UNREACHABLE = (
    "Cannot connect to vLLM server at {}. Is the container running? Check with `server_health` tool."
)
_BATCHES_IN_TOOLS = "Use list_batches to see the batches in this folder."
_BATCHES_AT_A_SHELL = "`vllm-image-mcp batches` lists the batches in the output folder."
_OUR_WORDS = {
    "base_url": "--vllm-url",
    "`api_key`": "--api-key or VLLM_IMAGE_API_KEY",
    "`timeout`, and `read_timeout` if you set one,": "--timeout,",
    "`timeout`": "--timeout",
    "pass the PEM file as `verify`": "pass the PEM file as --ca-file",
    "`headers`": "--header or VLLM_IMAGE_HEADER",
    "Omit `model`, or name the model": "Omit --model, or name the model",
    "set assume_edits": "set --assume-edits",
    "health_check": "server_health",
    "Studio.styles.names() lists": "`vllm-image-mcp styles` and the resource styles://all list",
    "Set styles_dir.": "Set --styles-dir.",
    " The image is in the `picture` attribute of this error.": "",
}
"""Names that the lower packages use, each with the name that this program uses."""

_OUTPUT_FOLDER = re.compile(r"\ban(?:other| absolute)? output folder\b[^.]*\.", re.IGNORECASE)
"""Advice about the output folder, up to the end of its sentence."""

_SHELL_WORDS = {
    "(server_health)": "(`vllm-image-mcp health`)",
    "a smaller size or fewer images at once (n)": "a smaller size or a lower --max-concurrent",
    "call again": "try again",
    "`vllm-image-mcp styles` and the resource styles://all list": "`vllm-image-mcp styles` lists",
}
"""The names that tools and callers of the API use, each with the name that the shell uses."""


def explain(error: ImageError | OmniError, *, server_url: str) -> str:
    """Return the text of an expected error for the model that called a tool."""
    return _sentences(_what_happened(error, server_url), *getattr(error, "__notes__", ()))


def sentence(error: Exception) -> str:
    """Return the text of an expected error for a person at a shell: what happened, and the next step."""
    if isinstance(error, UnknownBatch):
        return _sentences(str(error), _BATCHES_AT_A_SHELL)
    text = row_sentence(error)
    return _with_option_names(text, error.parameter) if isinstance(error, InvalidRequest) else text


def row_sentence(error: Exception) -> str:
    """Return the same for a row of a batch file, whose columns have the names of parameters."""
    step = next_step(error) if isinstance(error, (ImageError, OmniError)) else ""
    return _sentences(message_of(error), *getattr(error, "__notes__", ()), with_command_names(step))


def notes_for_model(notes: Sequence[str]) -> tuple[str, ...]:
    """Adapt an image's notes for a model: tools have no ``fresh`` parameter."""
    with_fresh, without = "Use fresh to generate it again", "Use another seed for another image"
    return tuple(note.replace(with_fresh, without) for note in notes)


def diagnosis(health: Health, *, fix: str | None = None) -> str | None:
    """Say why a server is not healthy; None if it is. A fix that is known replaces the usual next step.

    This names the cause, as "check with server_health" would lead in a circle here.
    """
    match health.error:
        case None if health.status == "healthy":
            return None
        case None:
            return (
                "The server answers, but no model is ready: it is still starting, or it failed; see its log."
            )
        case ServerUnreachable() as error:
            where = f"Cannot connect to vLLM server at {health.server_url}. Is the container running?"
            return _sentences(where, error.message, fix or next_step(error))
        case error:
            return explain(error, server_url=health.server_url)


def explain_recorded(kind: str | None, error: str, recorded_step: str | None, *, server_url: str) -> str:
    """Return the text of an error that was read from the journal; its kind is the name of its class."""
    match kind:
        case ServerUnreachable.__name__:
            return _UNREACHABLE.format(server_url)
        case OutOfGpuMemory.__name__:
            return _OUT_OF_MEMORY
        case _:
            return _sentences(error, with_program_names(recorded_step or ""))


_GENERATING = frozenset({"generate_image", "batch_generate", "estimate_generation"})
"""The tools that make images from text."""


def explain_inability(tool: str, error: InvalidRequest, registry: Registry) -> str:
    """Name the models that generate images from text, if the loaded model cannot; "" otherwise."""
    if error.parameter != "images" or tool not in _GENERATING:
        return ""
    able = [profile.model for profile in registry if profile.text_to_image]
    more = f" and {len(able) - _MODELS_NAMED} more" if len(able) > _MODELS_NAMED else ""
    named = ", ".join(able[:_MODELS_NAMED])
    return (
        "Use edit_image for that. To generate images from text alone, start the vLLM-Omni server with "
        f"another model, such as {named}{more}."
    )


def explain_arguments(tool: str, error: ValidationError, allowed: list[str]) -> str:
    """Return the text for arguments that do not match the tool's schema."""
    wrong = "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    )
    listing = _BATCHES_IN_TOOLS if any(each["loc"] == ("batch_id",) for each in error.errors()) else ""
    named = f"{tool} was called with invalid arguments: {wrong}. Its parameters are: {', '.join(allowed)}."
    return _sentences(named, listing)


def explain_unknown(tool: str, slips: Mapping[str, str], allowed: Sequence[str]) -> str:
    """Return the text for unknown arguments, which are refused so that no unintended image is generated.

    Each slip is an unknown name with what to use instead.
    """
    unknown = " ".join(f"{tool} has no parameter '{one_line(name)}'. {hint}." for name, hint in slips.items())
    return f"{unknown} Its parameters are: {', '.join(allowed)}."


def _what_happened(error: ImageError | OmniError, server_url: str) -> str:
    match error:
        case ServerUnreachable():
            return _UNREACHABLE.format(server_url)
        case OutOfGpuMemory():
            return _OUT_OF_MEMORY
        case _:
            return _sentences(error.message, next_step(error))


def with_program_names(step: str) -> str:
    """Replace the names that the lower packages use with those of this program."""
    for theirs, ours in _OUR_WORDS.items():
        step = step.replace(theirs, ours)
    return step


def with_command_names(step: str) -> str:
    """Replace the names that the lower packages or the tools use with those of the shell commands."""
    step = with_program_names(step)
    for theirs, ours in _SHELL_WORDS.items():
        step = step.replace(theirs, ours)
    return step


def _with_option_names(text: str, parameter: str) -> str:
    """Replace parameters with the options of the command: ``width=64`` becomes ``--width 64``."""
    options = _options_here()
    if parameter == _SWEEP:  # its axes are parameters, even at a shell
        options = {name: option for name, option in options.items() if name in {_SWEEP, "zip"}}

    def option(found: re.Match[str]) -> str:
        name, equals = found["name"], found["equals"]
        return f"{options[name]}{' ' if equals else ''}" if name in options else found[0]

    return _names_in_text(tuple(options)).sub(option, text)


def _options_here() -> Mapping[str, str]:
    """Return the option or argument of each parameter of requests and of the command that runs."""
    from vllm_image_core.requests.fields import REQUEST_FIELDS  # noqa: PLC0415 - only errors at a shell need it

    options = {each.name: each.option or f"--{each.name.replace('_', '-')}" for each in REQUEST_FIELDS}
    context = click.get_current_context(silent=True)
    for each in context.command.params if context else ():
        name = each.name or ""
        words = re.findall(r"\w+", each.metavar or name.upper())
        options[name] = words[0] if isinstance(each, click.Argument) else each.opts[0]
    return options


@cache
def _names_in_text(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that finds these parameters in a message.

    A name that is an ordinary word, such as `mask`, is the parameter only where the message begins with it,
    before an equals sign, and in a few phrases. Quoted text and paths are left alone.
    """
    compound = "|".join(name for name in names if "_" in name) or "(?!)"
    plain = "|".join(name for name in names if name and "_" not in name)
    return re.compile(
        rf"(?<![\w/'\"-])(?P<name>(?:{compound})(?![\w/'\"-])|\w+(?==)"
        r"|(?:^|(?<=\b[Ll]eave )|(?<=\bsupport )|(?<=\bCorrect ))"
        rf"(?:{plain})(?=:| has | asks | pairs | and | out\b)"
        r"|(?:(?<=\bwith )|(?<=\bno )|(?<=\bor ))zip\b"
        r"|\bwidth(?=(?:,| and) height\b)|(?<=\bwidth and )height|(?<=\bwidth, )height)(?P<equals>=)?"
    )


def next_step(error: ImageError | OmniError) -> str:
    """Return what to do about an error, in the words of this program."""
    step = with_program_names(error.next_step)
    if isinstance(error, UnknownBatch):
        return f"{step} {_BATCHES_IN_TOOLS}"
    return _OUTPUT_FOLDER.sub(r"\g<0> Set it with --output-dir.", step, count=1)


def _sentences(*texts: str) -> str:
    """Join texts into sentences; add a full stop to each that has no end mark."""
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts if text)
