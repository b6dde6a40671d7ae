"""Find fonts of the system that have a character, with fontconfig or at the usual places."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import ImageFont

_FONTCONFIG_SECONDS: Final = 5.0

_USUAL: Final = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "NotoSansArabic-Regular.ttf",
    "GeezaPro.ttc",
    "arial.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Kohinoor.ttc",
    "Nirmala.ttc",
    "Nirmala.ttf",
    "NotoSansThai-Regular.ttf",
    "Thonburi.ttc",
    "LeelawUI.ttf",
    "FreeSans.ttf",
    "unifont.ttf",
)
"""File names of fonts of Linux, macOS and Windows, which Pillow finds in the system's folders."""


@dataclass(frozen=True, slots=True)
class Face:
    """A font of the system.

    Attributes:
        file: The path of its file, or a name that Pillow finds.
        index: Its place in a file of several fonts.
    """

    file: str
    index: int = 0

    def load(self, size: int) -> "ImageFont.FreeTypeFont | None":
        """Load it at a size in pixels; None if it is not there, or has other sizes only."""
        from PIL import ImageFont  # noqa: PLC0415 - starting must not wait for Pillow

        try:
            return ImageFont.truetype(self.file, size, index=self.index)
        except OSError:
            return None


def find_faces(character: str) -> Iterator[Face]:
    """Yield fonts that may have a character, the best first; load one to check whether it does."""
    best = _ask_fontconfig(character)
    if best is not None:
        yield best
    yield from map(Face, _usual_files())


@functools.lru_cache(maxsize=1024)
def _ask_fontconfig(character: str) -> Face | None:
    """Return the font that fontconfig would choose; None without fontconfig."""
    command = shutil.which("fc-match")
    if command is None:
        return None
    pattern = f"sans:charset={ord(character):x}"
    try:
        found = subprocess.run(  # noqa: S603 - our own arguments
            [command, "--format=%{file}\t%{index}", pattern],
            capture_output=True,
            check=True,
            timeout=_FONTCONFIG_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    file, _, index = found.stdout.decode(errors="replace").partition("\t")
    return Face(file, int(index) & 0xFFFF if index.isdigit() else 0) if Path(file).is_file() else None


@functools.cache
def _usual_files() -> tuple[str, ...]:
    """Return the usual fonts that are there."""
    return tuple(name for name in _USUAL if Face(name).load(12) is not None)
