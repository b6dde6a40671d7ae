"""The words of the pictures, in SQLite's full-text search where this Python has it.

The table is no part of the schema: a host whose SQLite lacks FTS5 uses the file, too, and leaves it alone.
So no trigger fills it; the words of all pictures that came since are entered at the end of each change.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from typing import Final

MAX_CHARACTERS: Final = 1_000
"""What is read of a text that is searched for."""
MAX_WORDS: Final = 32

_WORD: Final = re.compile(r"[^\W_]+")
# Scripts that are written without spaces: Thai, Lao, Khmer, kana, Han.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)


def add_spaces(text: str) -> str:
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
    return [word for word in add_spaces(text).split() for word in _parts(word)]


def _parts(word: str) -> list[str]:
    return [word] if unicodedata.category(word[0]) == "So" else _WORD.findall(word)


_TABLE: Final = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS picture_text USING fts5(words, content='', "
    "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co So'\")"
)
_WORDS: Final = "spaced(coalesce(prompt, '') || ' ' || coalesce(tag, '') || ' ' || name)"
_UNTIL: Final = "coalesce((SELECT value FROM state WHERE name = 'text_until'), 0)"
"""The last picture whose words were entered."""

_ENTER: Final = (
    f"INSERT INTO picture_text (rowid, words) SELECT id, {_WORDS} FROM picture "  # noqa: S608 - our own words
    f"WHERE id > {_UNTIL} AND width IS NOT NULL"
)
_ENTERED: Final = "INSERT OR REPLACE INTO state SELECT 'text_until', coalesce(max(id), 0) FROM picture"
_MANY: Final = 5_000
"""Where beginning with the words and beginning with the newest take about as long."""
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM picture_text WHERE picture_text MATCH ? LIMIT ?)"
_BEHIND: Final = f"SELECT max(id) > {_UNTIL} FROM picture"  # noqa: S608 - our own words


def prepare(connection: sqlite3.Connection) -> bool:
    """Make full-text search ready; False where this SQLite has none, or not one that knows our tokenizer."""
    connection.create_function("spaced", 1, add_spaces, deterministic=True)
    try:
        connection.execute(_TABLE)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return False
    return True


def enter(connection: sqlite3.Connection) -> None:
    """Enter the words of all pictures that came since the last time; within a transaction."""
    connection.execute(_ENTER)
    connection.execute(_ENTERED)


def is_behind(connection: sqlite3.Connection) -> bool:
    """Whether pictures came since."""
    return bool(connection.execute(_BEHIND).fetchone()[0])


def are_common(connection: sqlite3.Connection, expression: str) -> bool:
    """Whether many pictures match an FTS5 expression."""
    return bool(expression) and connection.execute(_COUNT, (expression, _MANY)).fetchone()[0] == _MANY


def forget(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Take out the words of some pictures, before the pictures are; within a transaction.

    FTS5 keeps no texts and has to be given them again.
    """
    marks = ", ".join("?" * len(names))
    select = f"SELECT 'delete', id, {_WORDS} FROM picture WHERE name IN ({marks})"  # noqa: S608 - marks only
    connection.execute(
        "INSERT INTO picture_text (picture_text, rowid, words) "
        f"{select} AND id <= {_UNTIL} AND width IS NOT NULL",
        names,
    )
