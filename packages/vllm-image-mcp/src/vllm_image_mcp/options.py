"""Add the options of the settings to each command, and build Settings from them."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from vllm_image_mcp.command_line import Command, shell_command
from vllm_image_mcp.setting_sources import GivenValue, option_of
from vllm_image_mcp.setting_table import Setting, SettingTable

if TYPE_CHECKING:
    from pydantic import ValidationError

    from vllm_image_mcp.settings import Settings

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


_EXIT_STATUSES: Final = (
    ("0", "Done."),
    ("1", "Something failed, or not all images were saved; stderr says why."),
    ("2", "The command line is wrong."),
    ("130", "Interrupted by Ctrl-C."),
)


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """Why the value of a setting cannot be used.

    Attributes:
        option: Its option; "" if no single setting is at fault.
        reason: What is wrong, and what is allowed.
        source: Where the value was written, if that is not the option; "" otherwise.
        is_variable: Whether that is an environment variable.
    """

    option: str
    reason: str
    source: str = ""
    is_variable: bool = False

    def __str__(self) -> str:
        if self.source and self.is_variable:
            return f"{self.source}: {self.reason}"
        named = f"{self.option}: {self.reason}" if self.option else self.reason
        return f"{named} (from {self.source})" if self.source else named


class GivenOptions(NamedTuple):
    """The options that were given before and after the command's name, in the order of the settings."""

    model: type[SettingTable]
    values: Mapping[str, Any]

    def settings(self) -> "Settings":
        """Build the settings; raise click.UsageError with every value that cannot be used."""
        from pydantic import ValidationError  # noqa: PLC0415 - the help appears without it

        try:
            return self.model.from_arguments(**self.values)
        except ValidationError as error:
            raise click.UsageError("; ".join(map(str, self.problems(error)))) from error

    def sources(self) -> Mapping[str, GivenValue]:
        """Return the settings that are given, unchecked, with the source of each; raises ValueError."""
        return self.model.given({name: value for name, value in self.values.items() if value is not None})

    def problems(self, error: "ValidationError") -> Sequence[SettingProblem]:
        """Return what is wrong with each setting, in a user's words."""
        sources: Mapping[str, GivenValue] = {}
        with suppress(ValueError):  # the settings file cannot be used, and the error says so itself
            sources = self.sources()
        return [
            _problem(*each["loc"], message=each["msg"], sources=sources)
            for each in error.errors(include_input=False)
        ]


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
            if record is not None and not isinstance(param, click.Argument):
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


def with_options(
    command: CommandT, model: type[SettingTable] = SettingTable, *, serves_mcp: bool = False
) -> CommandT:
    """Add the shared options to a command, and pass the ``GivenOptions``, unchecked, as its first argument.

    Options after the command's name override those before it. Only what ``serves_mcp`` has the options of the
    MCP server.
    """
    options = {name: each for name, each in model.table().items() if serves_mcp or not each.mcp_only}

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click passes what the command declares
        context = click.get_current_context()
        before: Mapping[str, Any] = context.obj.values if context.obj else {}
        here = {name: kwargs.pop(name) for name in options}
        given = {**before, **{name: value for name, value in here.items() if value is not None}}
        context.obj = GivenOptions(model, given)
        return command(context.obj, *args, **kwargs)

    for name, setting in reversed(list(options.items())):
        run = _click_option(model, name, setting)(run)
    return run  # pyright: ignore[reportReturnType] - click's decorators keep the signature at run time


def with_settings(
    command: CommandT, model: type[SettingTable] = SettingTable, *, serves_mcp: bool = False
) -> CommandT:
    """Add the shared options to a command, and pass the ``Settings`` they make as its first argument."""

    @functools.wraps(command)
    def run(given: GivenOptions, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click passes what the command declares
        return command(given.settings(), *args, **kwargs)

    return with_options(run, model, serves_mcp=serves_mcp)  # pyright: ignore[reportReturnType] - likewise


def how_to_resume(batch_id: str, *, as_json: bool = False) -> str:
    """Return the command line that resumes a batch with the current options, without secrets."""
    context = click.get_current_context(silent=True)
    given: GivenOptions = (context.obj if context else None) or GivenOptions(SettingTable, {})
    words = ["vllm-image-mcp", "resume", batch_id, *_as_typed(given), *(["--json"] if as_json else [])]
    unshown = [
        f"Set {given.model.variable(name)} first; its value is not shown here. "
        for name, setting in given.model.table().items()
        if setting.secret and given.values.get(name) is not None
    ]
    return f"{''.join(unshown)}To resume: {shell_command(words)}"


def _as_typed(given: GivenOptions) -> Iterator[str]:
    """Yield the shared options that were given, as the user would type them."""
    for name, setting in given.model.table().items():
        flag, value = option_of(name), given.values.get(name)
        if value is None or setting.secret or setting.mcp_only:
            continue
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
            continue
        for each in value if setting.repeatable else (value,):
            # A value that looks like an option itself is joined by "=".
            yield from (f"{flag}={each}",) if each.startswith("-") else (flag, each)


def _click_option(model: type[SettingTable], name: str, setting: Setting) -> Callable[[CommandT], CommandT]:
    """Build the decorator that gives a command the option of a setting; None stands for an omitted option."""
    flag, default = option_of(name), _default(model, name, setting)
    help_text = f"{setting.help}  [{default}]" if default else setting.help
    kind = _McpOption if setting.mcp_only else _SettingOption
    if not setting.metavar:
        names = f"{flag}/--no-{flag[2:]}" if default else flag
        return click.option(names, cls=kind, is_flag=True, default=None, help=help_text)
    return click.option(
        flag,
        cls=kind,
        metavar=setting.metavar,
        multiple=setting.repeatable,
        callback=_none_for_none if setting.repeatable else None,
        help=help_text,
    )


def _none_for_none(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Turn the empty tuple of a repeatable option that was not given into None."""
    return given or None


def _default(model: type[SettingTable], name: str, setting: Setting) -> str:
    """Return the default of a setting as its help shows it; "" if the setting is off or unset."""
    match model.default(name):
        case None:
            return "auto" if setting.metavar.endswith("|auto") else ""
        case bool(on):
            return "on" if on else ""
        case Path() as path:
            return f"./{path.as_posix()}"
        case value:
            return str(value)


def _problem(*where: int | str, message: str, sources: Mapping[str, GivenValue]) -> SettingProblem:
    if not where:
        return SettingProblem("", _in_words(message))
    flag, given = option_of(str(where[0])), sources.get(str(where[0]))
    written = "" if given is None or given.source == flag else given.source
    is_variable = given is not None and bool(written) and not given.in_file
    return SettingProblem(flag, _in_words(message), written, is_variable)


def _in_words(message: str) -> str:
    """Shorten a message of pydantic, which speaks of an input to parse."""
    message = message.removeprefix("Value error, ").partition(", unable to ")[0]
    return message.replace("Input should be", "must be")
