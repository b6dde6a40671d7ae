"""Describe how a host starts this server: its command, arguments and environment, with absolute paths."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vllm_image_core.file_url import path_in_url

from vllm_image_mcp.setting_sources import option_of
from vllm_image_mcp.setting_table import SettingTable

if TYPE_CHECKING:
    from pydantic import SecretStr

    from vllm_image_mcp.settings import Settings

_PACKAGE: Final = "vllm-image-mcp"
_TEMPORARY: Final = ("archive-v", "builds-v", "environments-v")
"""The folders of uv's cache, where the environments of `uvx` are; they may be removed at any time."""


_NOT_SHOWN: Final = "(not shown)"
_SECRETS: Final = [SettingTable.variable(name) for name, each in SettingTable.table().items() if each.secret]
_SECRET_LINE: Final = re.compile(rf'("?(?:{"|".join(_SECRETS)})"?\s*[:=]\s*)"[^"]*"')
"""An environment variable with a secret, in JSON or TOML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a host starts this server.

    Attributes:
        command: The absolute path of the program.
        arguments: Its arguments.
        environment: Variables with secrets.
    """

    command: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def without_secrets(self, text: str) -> str:
        """Return text without the secrets, and without older ones that they replace."""
        for secret in itertools.chain(*map(str.splitlines, self.environment.values())):
            text = text.replace(secret, _NOT_SHOWN)
        return _SECRET_LINE.sub(rf'\1"{_NOT_SHOWN}"', text)


class UvNotFound(Exception):
    """`uvx` is needed and cannot be found."""


def program(
    source: str | None,
    *,
    prefix: str = sys.prefix,
    executable: str = sys.executable,
    package: Distribution | None = None,
) -> tuple[str, ...]:
    """Return the command that starts the installed program, or the one that installs and starts it.

    Args:
        source: What `uvx` shall install: a folder, a wheel, a Git URL or a requirement. None for this very
            installation, unless `uvx` made it: then `uvx` installs the same again.
        prefix: The folder of this Python environment.
        executable: The Python interpreter of this environment.
        package: The installed package; None for the real one.

    Raises:
        UvNotFound: `uvx` is needed and cannot be found.
    """
    if source is None and not any(part.startswith(_TEMPORARY) for part in Path(prefix).parts):
        script = shutil.which(_PACKAGE, path=str(Path(executable).parent))
        return (script,) if script else (executable, "-P", "-m", "vllm_image_mcp")
    uvx = shutil.which("uvx")
    if uvx is None:
        raise UvNotFound("uvx is not on the PATH. Install uv (`pip install uv`), then try again.")
    chosen = source or _origin(package or distribution(_PACKAGE))
    if chosen == _PACKAGE:
        return (uvx, _PACKAGE)
    return (uvx, "--from", _absolute(chosen), _PACKAGE)


def arguments(settings: Settings, names: Sequence[str]) -> Iterator[str]:
    """Yield the arguments for some settings, without secrets, and with absolute paths."""
    for name in names:
        flag, value = option_of(name), getattr(settings, name)
        if settings.table()[name].secret or value is None:
            continue
        match value:
            case bool():
                yield flag if value else f"--no-{flag[2:]}"
            case _:
                for each in settings.vllm_urls if name == "vllm_url" else _several(value):
                    yield from (flag, each)


def secrets(settings: Settings, names: Sequence[str]) -> Mapping[str, str]:
    """Return the environment variables for those of some settings that are secret."""
    return {
        settings.variable(name): _revealed(getattr(settings, name))
        for name in names
        if settings.table()[name].secret
    }


def _revealed(value: SecretStr | Sequence[tuple[str, SecretStr]]) -> str:
    """Return a secret as its variable contains it: headers are on a line each."""
    if isinstance(value, Sequence):
        return "\n".join(f"{name}: {each.get_secret_value()}" for name, each in value)
    return value.get_secret_value()


def _several(value: object) -> Sequence[str]:
    values: tuple[object, ...] = value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType] - of any type
    return [str(each.expanduser().absolute()) if isinstance(each, Path) else f"{each}" for each in values]


def _origin(package: Distribution) -> str:
    """Return what this package was installed from, as PEP 610 records it; its name if from an index."""
    recorded = package.read_text("direct_url.json")
    if recorded is None:
        return _PACKAGE
    origin = json.loads(recorded)
    url = str(origin["url"])
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return path_in_url(url) if urlsplit(url).scheme == "file" else url


def _absolute(source: str) -> str:
    """Return the absolute path of a source in this file system; any other source as it is."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source
