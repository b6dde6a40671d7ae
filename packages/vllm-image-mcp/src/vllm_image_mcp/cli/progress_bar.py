"""Show on stderr how far a command is: a bar by tqdm on a terminal, nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self

from vllm_image_mcp.command_line import echo

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

_COUNTED: Final = "{desc}{percentage:3.0f}% |{bar:BAR}| {n_fmt}/{total_fmt}{postfix}"
_TIMED: Final = "{desc}{percentage:3.0f}% |{bar:BAR}|{postfix}"
_NARROW: Final = 80
"""Columns of a terminal below which the bar is short, so that what follows it is not cut."""


class ProgressBar:
    """A bar that is drawn at its first update and removed at the end.

    Args:
        label: What it stands for, in front of the bar.
        timed: Whether it counts seconds, which are not shown, instead of things. Their total is an estimate,
            so such a bar never goes back.
        quiet: Whether to show nothing, even on a terminal.

    Attributes:
        is_shown: Whether there is a terminal that shows it.
    """

    def __init__(self, label: str = "", *, timed: bool = False, quiet: bool = False) -> None:
        self.is_shown: bool = not quiet and sys.stderr.isatty()
        self._label = f"{label} " if label else ""
        self._timed = timed
        self._fraction = 0.0
        length = 30 if shutil.get_terminal_size().columns >= _NARROW else 10
        self._format = (_TIMED if timed else _COUNTED).replace("BAR", str(length))
        self._bar: Any = None  # tqdm has no types

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, done: float, total: float | None, note: str = "") -> None:
        """Show how much is done; the total may change, or be unknown.

        Args:
            done: How much is done.
            total: How much there is; None if nobody knows.
            note: What is shown after the bar.
        """
        if not self.is_shown:
            return
        if self._timed:
            self._fraction = max(self._fraction, min(done / total, 1.0) if total else 0.0)
            done, total = self._fraction, 1.0
        with self._drawing():
            bar = self._bar = self._bar or self._new()
            bar.total = total
            bar.n = done if total is None else min(done, total)
            bar.set_postfix_str(note, refresh=False)
            bar.refresh()

    def echo(self, text: str, *, err: bool = False) -> None:
        """Print a line above the bar; see `command_line.echo`."""
        self.clear()
        echo(text, err=err)
        if self._bar is not None:
            with self._drawing():
                self._bar.refresh()

    def clear(self) -> None:
        """Remove the bar until its next update."""
        if self._bar is not None:
            with self._drawing():
                self._bar.clear()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            with self._drawing():
                self._bar.close()
            self._bar = None

    def _new(self) -> Any:  # noqa: ANN401 - tqdm has no types
        tqdm = import_module("tqdm").tqdm
        tqdm.monitor_interval = 0  # no thread: whoever updates it does so often enough
        return tqdm(
            file=sys.stderr, desc=self._label, leave=False, dynamic_ncols=True, bar_format=self._format
        )

    @contextmanager
    def _drawing(self) -> Generator[None]:
        """Draw; if the terminal is gone, show nothing from then on, while the images continue."""
        try:
            yield
        except OSError:
            self.is_shown = False
            if self._bar is not None:
                self._bar.disable = True
                self._bar = None
