"""Shorten tracebacks in notebooks: show the caller's own lines, the message and the next step."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

_OURS: Final = frozenset({"vllm_omni_client", "vllm_image_core", "vllm_image_mcp"})
_MACHINERY: Final = frozenset({"IPython", "ipykernel", "asyncio", "concurrent", "contextlib", "threading"})
"""Packages between a cell and the call that it makes."""

_MOST_FRAMES: Final = 4
_MOST_NOTES: Final = 4
_COLOURS: Final = {"red": "31", "green": "32", "bold": "1"}


def short_traceback(error: BaseException, *, next_step: str) -> list[str]:
    """Return at most 20 lines for `_render_traceback_`, which IPython calls instead of its own traceback.

    The traceback ends where the caller's code calls these packages; what happened inside them, and errors
    of other libraries that led to it, stay available in Python's own traceback.
    """
    shell = _shell()
    has_colours = str(getattr(shell, "colors", "nocolor")).lower() != "nocolor"

    def paint(text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if has_colours else text

    lines: list[str] = []
    for frame, number in _callers(error.__traceback__)[-_MOST_FRAMES:]:
        lines.append(_place(frame, number, shell))
        source = _source(frame, number)
        if source:
            lines.append(f"{paint('---->', 'green')} {source}")
    notes: Sequence[str] = getattr(error, "__notes__", ())
    return [
        *lines,
        "",
        f"{paint(type(error).__name__, 'red')}: {getattr(error, 'message', error)}",
        *notes[:_MOST_NOTES],
        f"{paint('Next:', 'bold')} {next_step}",
        "(Full traceback: import traceback; traceback.print_last())",
    ]


def _callers(trace: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Return the frames above the first one of these packages, with their line numbers."""
    frames: list[tuple[FrameType, int]] = []
    for frame, number in traceback.walk_tb(trace):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _OURS:
            break
        if package not in _MACHINERY:
            frames.append((frame, number))
    return frames


def _shell() -> Any | None:  # noqa: ANN401 - IPython's shell, if this is IPython; it is not imported otherwise
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _place(frame: FrameType, number: int, shell: Any | None) -> str:  # noqa: ANN401 - likewise
    """Name a line of code: its cell or file, and its function."""
    code = frame.f_code
    label = shell and shell.compile.format_code_name(code.co_filename)
    where = f"{' '.join(label) if label else f'File {_short(code.co_filename)}'}, line {number}"
    return where if code.co_name == "<module>" else f"{where}, in {code.co_name}"


def _short(filename: str) -> str:
    path = Path(filename)
    return path.name if path.is_absolute() else filename


def _source(frame: FrameType, number: int) -> str:
    """Return a line of code, without its indentation; "" if its text is not known."""
    code = frame.f_code
    return traceback.FrameSummary(code.co_filename, number, code.co_name).line or ""
