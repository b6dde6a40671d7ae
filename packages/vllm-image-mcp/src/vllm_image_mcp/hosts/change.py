"""Change a host's configuration: show the change first, then make it, and keep a copy of the old file."""

import difflib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from vllm_image_core.text import decode_text
from vllm_omni_client.imaging import retry_while_held

from vllm_image_mcp.hosts import jsonc
from vllm_image_mcp.hosts.host import Host, UserFolders
from vllm_image_mcp.hosts.launch import Launch

_PRIVATE: Final = 0o600
_COMMAND_SECONDS: Final = 60.0


class CannotConfigure(Exception):
    """A host's configuration cannot be changed; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """New content of a configuration file.

    Attributes:
        file: The file itself, not a link to it.
        before: Its content; None if it does not exist.
        after: Its new content.
    """

    file: Path
    before: str | None
    after: str

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self.before != self.after

    def display_text(self) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            (self.before or "").splitlines(),
            self.after.splitlines(),
            str(self.file) if self.before is not None else os.devnull,
            str(self.file),
            lineterm="",
        )
        return "\n".join(lines)

    def make(self, *, now: Callable[[], datetime] = datetime.now) -> str:
        """Write the file, complete or not at all, and return what was done; keep a copy of the old one."""
        try:
            return self._write(now())
        except OSError as error:
            raise CannotConfigure(f"{self.file} cannot be written: {error.strerror or error}.") from error

    def _write(self, now: datetime) -> str:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}.tmp")
        done = f"{self.file} was written."
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as new:  # noqa: PTH123 - with its permissions
                new.write(self.after.encode())
            if self.before is not None:
                copy = self.file.with_name(f"{self.file.name}.{now:%Y%m%dT%H%M%S}.bak")
                shutil.copy2(self.file, copy)
                shutil.copymode(self.file, temporary)
                done = f"{self.file} was changed; {copy.name} next to it is the old one."
            retry_while_held(lambda: temporary.replace(self.file))
        finally:
            with suppress(OSError):  # it was moved, or is held, which is reported
                temporary.unlink()
        return done


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandChange:
    """A command of the host that adds the server.

    Attributes:
        command: The command, with the absolute path of its program.
        before: A command that removes an older entry, if the host refuses to replace it; None otherwise.
    """

    command: Sequence[str]
    before: Sequence[str] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether anything changes; a command always runs."""
        return True

    def display_text(self) -> str:
        """Return the command as a shell takes it."""
        words = [Path(self.command[0]).stem, *self.command[1:]]
        return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)

    def make(self) -> str:
        """Run the command, and return what it said."""
        done = _run(self.command)
        if done.returncode and self.before is not None and "already exists" in done.stdout + done.stderr:
            _run(self.before)
            done = _run(self.command)
        said = (done.stdout + done.stderr).strip()
        if done.returncode:
            raise CannotConfigure(f"{Path(self.command[0]).name} failed: {said or done.returncode}")
        return said or "Done."


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the host's own program, with arguments and no shell
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotConfigure(f"{Path(command[0]).name} cannot be run: {error}") from error


def plan(
    host: Host,
    name: str,
    launch: Launch,
    folders: UserFolders,
    *,
    find_program: Callable[[str], str | None] = shutil.which,
) -> FileChange | CommandChange:
    """Return the change that adds a server to a host: its own command if there is one, else its file.

    Raises:
        CannotConfigure: The host's file cannot be read.
    """
    program = find_program(host.program) if host.program else None
    if program is not None and host.add is not None and _takes_json(program, host):
        remove = host.remove(name) if host.remove else None
        return CommandChange(
            command=[program, *host.add(name, launch)],
            before=None if remove is None else [program, *remove],
        )
    return plan_file(host, name, launch, folders)


def plan_file(host: Host, name: str, launch: Launch, folders: UserFolders) -> FileChange:
    """Return the change to a host's file; raises CannotConfigure if the file cannot be read."""
    file = Path(os.path.realpath(host.file(folders)))
    try:
        before = decode_text(file.read_bytes()) if file.exists() else None
        after = _set(host, before or "", name, launch, folders)
    except OSError as error:
        raise CannotConfigure(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CannotConfigure(
            f"{file} cannot be changed: {error}. Correct it, or add the server yourself (--print)."
        ) from error
    return FileChange(file=file, before=before, after=after)


def entry_text(host: Host, name: str, launch: Launch, folders: UserFolders) -> str:
    """Return what a host's file contains if this server is the only one."""
    return _set(host, "", name, launch, folders).rstrip()


def _set(host: Host, text: str, name: str, launch: Launch, folders: UserFolders) -> str:
    set_value = _set_toml if host.file(folders).suffix == ".toml" else jsonc.set_value
    return set_value(text, (*host.keys, name), host.entry(launch))


def _takes_json(program: str, host: Host) -> bool:
    """Whether JSON reaches a program as one argument, which a batch file of Windows would tear apart."""
    return host.name != "vscode" or not program.lower().endswith((".cmd", ".bat"))


def _set_toml(text: str, path: Sequence[str], value: object) -> str:
    import tomlkit  # noqa: PLC0415 - one host keeps TOML

    document = tomlkit.parse(text)
    table = cast("MutableMapping[str, Any]", document)
    for depth, key in enumerate(path[:-1], start=1):
        inner: object = table.setdefault(key, tomlkit.table(is_super_table=True))
        if not isinstance(inner, MutableMapping):
            raise ValueError(f"{'.'.join(path[:depth])} is not a table")  # noqa: TRY004 - of the file, not of a caller
        table = cast("MutableMapping[str, Any]", inner)
    if table.get(path[-1]) != value:
        table[path[-1]] = value
    return tomlkit.dumps(document)
