"""The words of a text, as they are indexed and searched for."""

import re
import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 1_000
"""What is read of a text that is searched for."""
MAX_WORDS: Final = 32

_WORD: Final = re.compile(r"[^\W_]+")
# Scripts that are written without spaces: Thai, Lao, Khmer, kana, Han.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)


def spaced(text: str) -> str:
    """The text with a space around each sign of a script without spaces, and around each emoji."""
    normal = unicodedata.normalize("NFKC", text)
    if normal.isascii():
        return normal
    apart = _UNSPACED.sub(r" \g<0> ", normal)
    return "".join(f" {sign} " if unicodedata.category(sign) == "So" else sign for sign in apart)


def match_expression(text: str) -> str:
    """An FTS5 expression for texts that have all these words; "" where there is none to search for.

    Nothing in the text is an operator, but for a star at the end of a word: "sno*" finds "snow". So no text
    is an invalid expression.
    """
    found = [_phrase(word) for word in text[:MAX_CHARACTERS].split()]
    return " ".join(phrase for phrase in found[:MAX_WORDS] if phrase)


def plain_words(text: str) -> tuple[str, ...]:
    """The same words, to be looked for one by one where there is no FTS5."""
    return tuple(_words(text[:MAX_CHARACTERS])[:MAX_WORDS])


def _phrase(word: str) -> str:
    words = _words(word)
    if not words:
        return ""
    star = "*" if word.endswith("*") and len(words[-1]) > 1 else ""
    return f'"{" ".join(words)}"{star}'


def _words(text: str) -> list[str]:
    return [word for word in spaced(text).split() for word in _parts(word)]


def _parts(word: str) -> list[str]:
    return [word] if unicodedata.category(word[0]) == "So" else _WORD.findall(word)
