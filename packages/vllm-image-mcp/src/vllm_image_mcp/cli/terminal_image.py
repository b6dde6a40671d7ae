"""Show an image in a terminal that supports it: kitty, Ghostty, iTerm2 or WezTerm."""

from __future__ import annotations

import base64
import io
import os
import sys
from typing import TYPE_CHECKING, Final

from vllm_image_mcp.command_line import echo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SIDE: Final = 384
"""Pixels of the longest side; a terminal scrolls the text above it away."""
_CHUNK: Final = 4_096
"""Maximum characters that kitty takes in one escape sequence."""
_KITTY: Final = frozenset({"xterm-kitty", "xterm-ghostty"})
_ITERM: Final = frozenset({"iTerm.app", "WezTerm"})


def show_in_terminal(path: Path) -> None:
    """Print an image on stdout, made smaller, if that is a terminal that shows images."""
    protocol = _protocol(os.environ) if sys.stdout.isatty() else None
    if protocol is None:
        return
    data = base64.b64encode(_small_png(path)).decode()
    echo(_kitty(data) if protocol == "kitty" else _iterm(data))


def _protocol(environment: Mapping[str, str]) -> str | None:
    """Return the protocol of the terminal; None if it has none, or tmux or screen is in between."""
    term = environment.get("TERM", "")
    if term.startswith(("tmux", "screen")) or "TMUX" in environment:
        return None
    if term in _KITTY or "KITTY_WINDOW_ID" in environment:
        return "kitty"
    names = {
        environment.get("TERM_PROGRAM"),
        environment.get("LC_TERMINAL", "").replace("iTerm2", "iTerm.app"),
    }
    return "iterm" if names & _ITERM else None


def _small_png(path: Path) -> bytes:
    from vllm_image_core.errors import BadPicture  # noqa: PLC0415 - slow to import
    from vllm_image_core.files import read_image_file  # noqa: PLC0415 - likewise
    from vllm_image_core.imaging.picture import Picture  # noqa: PLC0415 - likewise
    from vllm_image_core.imaging.size import Size  # noqa: PLC0415 - likewise
    from vllm_image_core.imaging.thumbnail import thumbnail  # noqa: PLC0415 - likewise

    small = thumbnail(Picture.check_file(read_image_file(path, BadPicture)), Size(_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "PNG")
    return file.getvalue()


def _kitty(data: str) -> str:
    """Return the escape sequences that transmit a PNG and display it (a=T, f=100), in chunks."""
    return "".join(_kitty_chunks(data))


def _kitty_chunks(data: str) -> Iterator[str]:
    for start in range(0, len(data), _CHUNK):
        more = int(start + _CHUNK < len(data))
        keys = f"a=T,f=100,q=2,m={more}" if start == 0 else f"m={more}"
        yield f"\033_G{keys};{data[start : start + _CHUNK]}\033\\"


def _iterm(data: str) -> str:
    return f"\033]1337;File=inline=1;preserveAspectRatio=1:{data}\a"
