"""Collect the values of settings, with their sources: arguments, the environment and the settings file."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_image_core.text import brief, decode_text

from vllm_image_mcp.setting_values import clean_path

_FILE: Final = Path("vllm-image-mcp", "config.toml")
_ALTERNATIVES: Final = {
    "api_key": "api_key_file",
    "api_key_file": "api_key",
    "token": "token_file",
    "token_file": "token",
}
"""Settings that give the same thing: the source that is read last decides which one counts."""


@dataclass(frozen=True, slots=True)
class GivenValue:
    """The value of a setting before it is checked.

    Attributes:
        value: The value as it was written.
        source: Where it was written: an option, a variable or the path of the settings file.
        in_file: Whether it was written in the settings file.
    """

    value: object
    source: str
    in_file: bool = False


def collect(
    variables: Mapping[str, Sequence[str]], arguments: Mapping[str, object], environment: Mapping[str, str]
) -> dict[str, GivenValue]:
    """Return the value that counts for each setting that is given.

    Arguments override the environment, and the environment overrides the settings file. In the environment,
    an empty variable counts as not set, and case does not matter.

    Args:
        variables: The environment variables of each setting; of several that are set, the last counts.
        arguments: The values of options, by setting.
        environment: The environment variables.

    Raises:
        ValueError: The settings file cannot be used.
    """
    from_arguments = {name: GivenValue(value, option_of(name)) for name, value in arguments.items()}
    from_environment = dict(_from_environment(variables, environment))
    chosen = {**from_environment, **from_arguments}.get("config")
    file = default_file(environment) if chosen is None else _chosen_file(chosen)
    found: dict[str, GivenValue] = {}
    for source in (_from_file(file, variables), from_environment, from_arguments):
        for name in source:
            found.pop(_ALTERNATIVES.get(name, ""), None)
        found.update(source)
    return found


def option_of(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def default_file(environment: Mapping[str, str]) -> Path | None:
    """Return the settings file in the user's folder for configuration; None if it does not exist."""
    folder = _configuration_folder(environment)
    path = None if folder is None else folder / _FILE
    return path if path is not None and os.path.isfile(path) else None  # noqa: PTH113 - a Path raises where it may not look


def _configuration_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder that platformdirs would give; its import takes 10 ms of every start."""
    if sys.platform == "win32":
        folder = environment.get("APPDATA")
        return Path(folder) if folder else None
    home = Path(environment.get("HOME") or os.sep)
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")


def _from_environment(
    variables: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Iterator[tuple[str, GivenValue]]:
    values = {name.upper(): value for name, value in environment.items() if value}
    for name, names in variables.items():
        for variable in names:
            if variable in values:
                yield name, GivenValue(values[variable], variable)


def _chosen_file(chosen: GivenValue) -> Path:
    return Path(clean_path(str(chosen.value))).expanduser()


def _from_file(file: Path | None, known: Mapping[str, object]) -> dict[str, GivenValue]:
    if file is None:
        return {}
    names = [name for name in known if name != "config"]
    values = _read(file)
    for name in values:
        if name not in names:
            raise ValueError(f"{file}: {brief(name)} is not a setting. Use: {', '.join(names)}")
    return {
        name: GivenValue(tuple(value) if isinstance(value, list) else value, str(file), in_file=True)  # pyright: ignore[reportUnknownArgumentType] - the field checks the elements
        for name, value in values.items()
    }


def _read(file: Path) -> Mapping[str, object]:
    import tomllib  # noqa: PLC0415 - most users have no such file

    try:
        return tomllib.loads(decode_text(file.read_bytes()))
    except OSError as error:
        raise ValueError(f"The settings file {file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # TOML and UTF-8
        raise ValueError(f"The settings file {file} is not valid TOML: {error}") from error
