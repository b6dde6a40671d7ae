"""Show each setting with its source, and find mistakes in how settings are given."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_image_mcp.doctor.finding import Finding
from vllm_image_mcp.options import SettingProblem
from vllm_image_mcp.setting_sources import GivenValue, option_of
from vllm_image_mcp.settings import Setting, Settings

_DEFAULT: Final = "default"
_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInUse:
    """A setting as a person sees it.

    Attributes:
        option: Its option.
        value: Its value, as text; a secret is not shown.
        source: The option, the variable or the file that it comes from, or "default".
    """

    option: str
    value: str
    source: str


def settings_in_use(settings: Settings, sources: Mapping[str, GivenValue]) -> tuple[SettingInUse, ...]:
    """Return every setting with its value and its source."""
    return tuple(
        SettingInUse(
            option=option_of(name),
            value=_display_text(getattr(settings, name), setting),
            source=sources[name].source if name in sources else _DEFAULT,
        )
        for name, setting in settings.table().items()
    )


def _display_text(value: object, setting: Setting) -> str:
    match value:
        case _ if value is not None and setting.secret:
            return "set (not shown)"
        case None:
            return "auto" if setting.metavar.endswith("|auto") else "not set"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - paths
        case _:
            return str(value)


def check_problems(problems: Sequence[SettingProblem]) -> Iterator[Finding]:
    """Yield a finding for each setting whose value cannot be used."""
    for each in problems:
        where = each.source or each.option or "the settings file"
        yield Finding(
            check="settings",
            status="failed",
            subject=each.option,
            detail=f"{each.reason}.",
            fix=f"Correct it in {where}, or remove it there.",
        )


def check_secrets(settings: Settings, sources: Mapping[str, GivenValue]) -> Iterator[Finding]:
    """Yield a warning for each place where other users of this machine can read a secret."""
    secrets = {
        name: sources[name] for name, each in settings.table().items() if each.secret and name in sources
    }
    for name, given in secrets.items():
        if given.source == option_of(name):
            instead = ", or use --api-key-file" if name == "api_key" else ""
            yield Finding(
                check="secrets",
                status="warning",
                subject=option_of(name),
                detail="Other users of this machine can see its value in the list of processes.",
                fix=f"Set {settings.variable(name)} instead{instead}.",
            )
    files = {Path(given.source) for given in secrets.values() if given.in_file}
    if settings.api_key_file:
        files.add(settings.api_key_file)
    for file in sorted(files):
        if _others_can_read(file.expanduser()):
            yield Finding(
                check="secrets",
                status="warning",
                subject=str(file),
                detail="Other users of this machine can read this file, which holds a secret.",
                fix=f"Run `chmod 600 {file}`.",
            )


def _others_can_read(file: Path) -> bool:
    if os.name == "nt":
        return False  # its permissions are not in the mode
    try:
        return bool(file.stat().st_mode & _OTHERS)
    except OSError:
        return False
