"""Add the options of the settings to each command, and build Settings from them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
from pydantic import ValidationError

from vllm_image_mcp.command_line import Command, shell_command
from vllm_image_mcp.settings import Setting, Settings

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


_EXIT_STATUSES: Final = (
    ("0", "Done."),
    ("1", "Something failed, or not all images were saved; stderr says why."),
    ("2", "The command line is wrong."),
    ("130", "Interrupted by Ctrl-C."),
)


class _Given(NamedTuple):
    """The options that were given before and after the command's name, in the order of the settings."""

    model: type[Settings]
    values: Mapping[str, Any]


class _SettingOption(click.Option):
    """The option of a setting; the help lists it apart from the command's own options."""

    group = "Server and file options"


class _McpOption(_SettingOption):
    """The option of a setting that only the MCP server has."""

    group = "Options of the MCP server"


class GroupedOptions(Command):
    """A command whose help lists its own options first, and the shared ones under their own headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group, and below them the commands, if there are any."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the exit statuses mean."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit status"):
            formatter.write_dl(_EXIT_STATUSES)


def with_settings(
    command: CommandT, model: type[Settings] = Settings, *, serves_mcp: bool = False
) -> CommandT:
    """Add the shared options to a command, and pass the ``Settings`` they make as its first argument.

    Options after the command's name override those before it, and both override the environment. Only what
    ``serves_mcp`` has the options of the MCP server.
    """
    options = {name: each for name, each in model.table().items() if serves_mcp or not each.mcp_only}

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click passes what the command declares
        context = click.get_current_context()
        before: Mapping[str, Any] = context.obj.values if context.obj else {}
        here = {name: kwargs.pop(name) for name in options}
        given = {**before, **{name: value for name, value in here.items() if value is not None}}
        context.obj = _Given(model, given)
        return command(_settings(context.obj), *args, **kwargs)

    for name, option in reversed(list(options.items())):
        run = _click_option(model, name, option)(run)
    return run  # pyright: ignore[reportReturnType] - click's decorators keep the signature at run time


def how_to_resume(batch_id: str, *, as_json: bool = False) -> str:
    """Return the command line that resumes a batch with the current options, without secrets."""
    context = click.get_current_context(silent=True)
    given: _Given = (context.obj if context else None) or _Given(Settings, {})
    words = ["vllm-image-mcp", "resume", batch_id, *_as_typed(given), *(["--json"] if as_json else [])]
    unshown = [
        f"Set {given.model.variable(name)} first; its value is not shown here. "
        for name, option in given.model.table().items()
        if option.secret and given.values.get(name) is not None
    ]
    return f"{''.join(unshown)}To resume: {shell_command(words)}"


def _as_typed(given: _Given) -> Iterator[str]:
    """Yield the shared options that were given, as the user would type them."""
    for name, option in given.model.table().items():
        flag, value = _flag(name), given.values.get(name)
        if value is None or option.secret or option.mcp_only:
            continue
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
            continue
        for each in value if option.repeatable else (value,):
            # A value that looks like an option itself is joined by "=".
            yield from (f"{flag}={each}",) if each.startswith("-") else (flag, each)


def _click_option(model: type[Settings], name: str, option: Setting) -> Callable[[CommandT], CommandT]:
    """Build the decorator that gives a command the option of a setting; None stands for an omitted option."""
    flag, default = _flag(name), _default(model, name, option)
    help_text = f"{option.help}  [{default}]" if default else option.help
    kind = _McpOption if option.mcp_only else _SettingOption
    if not option.metavar:
        names = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.option(names, cls=kind, is_flag=True, default=None, help=help_text)
    return click.option(
        flag,
        cls=kind,
        metavar=option.metavar,
        multiple=option.repeatable,
        callback=_none_for_none if option.repeatable else None,
        help=help_text,
    )


def _none_for_none(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Turn the empty tuple of a repeatable option that was not given into None."""
    return given or None


def _default(model: type[Settings], name: str, option: Setting) -> str:
    """Return the default of a setting as its help shows it; "" if the setting is off or unset."""
    match model.model_fields[name].default:
        case None:
            return "auto" if option.metavar.endswith("|auto") else ""
        case bool(on):
            return "on" if on else ""
        case Path() as path:
            return f"./{path.as_posix()}"
        case value:
            return str(value)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _settings(given: _Given) -> Settings:
    try:
        return given.model.from_arguments(**given.values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{_flag(str(each['loc'][0]))}: {_in_words(each['msg'])}"
            for each in error.errors(include_input=False)
        )
        raise click.UsageError(wrong) from error


def _in_words(message: str) -> str:
    """Shorten a message of pydantic, which speaks of an input to parse."""
    message = message.removeprefix("Value error, ").partition(", unable to ")[0]
    return message.replace("Input should be", "must be")
