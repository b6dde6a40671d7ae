"""Run command lines alike on every system: arguments stay as typed, and any text can be printed.

On Windows, click expands ``~``, ``%NAME%``, ``$NAME`` and patterns such as ``*`` in every argument, even in
prompts and keys; and output that is redirected is encoded in the system's code page, which lacks most
characters.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from glob import glob
from pathlib import Path
from traceback import walk_tb
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLOSED: Final = (errno.EPIPE, errno.EINVAL)
"""The errors of a pipe that nobody reads any more; Windows reports EINVAL."""
_PATTERN: Final = ("*", "?", "[")
_LEAST_OF_A_PROMPT: Final = 6
"""A terminal with less room for a prompt does not show it."""


class Command(click.Command):
    """A command that gets its arguments as typed and can print any text."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, D102 - click's own
        open_missing_streams()
        accept_any_text()
        try:
            return super().main(*args, **{**kwargs, "windows_expand_args": False})
        except OSError as error:
            stream = _stream_of(error)
            if stream is None:
                raise
            _discard(stream)
            lost = OutputLost(error)
            lost.show()  # nowhere, if stderr is the stream
            sys.exit(lost.exit_code)


class Group(click.Group, Command):
    """A group of commands that gets its arguments as typed and can print any text."""


class OutputLost(click.ClickException):
    """Standard output cannot be written: its reader is gone, or its disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout cannot be written: {error.strerror or error}.")
        self._is_closed = error.errno in _CLOSED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error, unless the reader has just read enough, as `head` does."""
        if not self._is_closed:
            super().show(file)


class PathArgument(click.Path):
    """A path, in which ``~`` is the user's home folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, D102 - click's own
        return super().convert(with_home(value), param, ctx)


class FileArgument(click.File):
    """A file to read, or ``-`` for standard input; in its path, ``~`` is the user's home folder."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BinaryIO:  # noqa: ANN401, D102 - click's own
        opened: BinaryIO = super().convert(with_home(value), param, ctx)  # type: ignore[assignment]  # the mode is binary
        return opened


def open_missing_streams() -> None:
    """Let a program run without stdin, stdout or stderr, as pythonw starts it on Windows."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end


def accept_any_text() -> None:
    """Let stdout and stderr print any text: as UTF-8, unless it goes to a terminal with its own encoding.

    A character that a terminal lacks is escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def echo(text: str, *, err: bool = False) -> None:
    """Print a line on stdout or stderr. A stderr that cannot be written is ignored.

    Raises:
        OutputLost: Stdout cannot be written; what else is printed there is dropped.
    """
    try:
        click.echo(text, err=err)
    except OSError as error:
        _discard(sys.stderr if err else sys.stdout)
        if not err:
            raise OutputLost(error) from error


def line_width() -> int | None:
    """Return how many characters fit on a line of the terminal; None if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def with_prompt(line: str, prompt: str | None, *, limit: int) -> str:
    """Add a prompt at the end of a line, cut to a limit in characters, or at the terminal's edge."""
    from vllm_image_core.text import one_line  # noqa: PLC0415 - a command may need no part of the core

    if not prompt:
        return line
    width = line_width()
    used = len(click.unstyle(line)) + 2
    room = limit if width is None else width - used % width
    return f"{line}  {one_line(prompt, limit=room)}" if room >= _LEAST_OF_A_PROMPT else line


def _stream_of(error: OSError) -> TextIO | None:
    """Return the stream that click could not print help or an error on; None if the error is another one."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code is click.echo.__code__)
    return next((frame.f_locals["file"] for frame in frames), None)


def _discard(stream: TextIO) -> None:
    """Drop what is still in the buffer of a stream, which would fail again at exit, and all that follows."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shell_command(words: Iterable[str]) -> str:
    """Join words into a command line, quoted for this system's shell."""
    return subprocess.list2cmdline(list(words)) if os.name == "nt" else shlex.join(words)


def with_home(path: Any) -> Any:  # noqa: ANN401 - click passes on what it was given
    """Replace ``~`` at the start of a path; one that cannot be replaced stays as typed."""
    if not isinstance(path, str) or not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path


def matching_paths(path: Path) -> list[Path]:
    """Return the files that a pattern matches, in order; only the path itself if it is not a pattern.

    The shells of Windows leave this to the program.
    """
    if any(each in str(path) for each in _PATTERN) and not path.exists():
        return sorted(map(Path, glob(str(path)))) or [path]  # noqa: PTH207 - a Path has no pattern of its own
    return [path]
