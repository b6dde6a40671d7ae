"""Turn untrusted text into one bounded, printable line."""

from collections.abc import Iterator
from typing import Final

_CUT_MARK: Final = "…"
# Characters read per character shown; bounds the work on hostile text.
_LOOK_AHEAD: Final = 8


def printable(text: str, *, limit: int) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Runs of white space become one space. Characters that `str.isprintable` refuses are dropped: control
    characters, bidirectional overrides, zero-width characters and lone surrogates.
    """
    line = " ".join("".join(_printable(text[: limit * _LOOK_AHEAD])).split())
    return line if len(line) <= limit else line[: limit - len(_CUT_MARK)] + _CUT_MARK


def _printable(text: str) -> Iterator[str]:
    for character in text:
        if character.isspace():
            yield " "
        elif character.isprintable():
            yield character
