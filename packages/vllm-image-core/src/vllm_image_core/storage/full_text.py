"""Index the words of prompts, tags and file names with SQLite's full-text search, if available.

The table is not part of the schema: a host whose SQLite lacks FTS5 can use the file too, and ignores the
table. So it is not filled by a trigger: the words of all images added since are entered at the end of each
change.
"""

import json
import re
import sqlite3
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

MAX_CHARACTERS: Final = 1_000
"""How much of the search text is used."""
MAX_WORDS: Final = 32

_WORD: Final = re.compile(r"[^\W_]+")
# Scripts written without spaces: Thai, Lao, Khmer, kana, Han. Compiled when it is first used.
_UNSPACED: Final = "[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"


def add_spaces(text: str) -> str:
    """Put spaces around each emoji and around each character of a script written without spaces."""
    normal = unicodedata.normalize("NFKC", text)
    if normal.isascii():
        return normal
    apart = re.sub(_UNSPACED, r" \g<0> ", normal)
    return "".join(f" {sign} " if unicodedata.category(sign) == "So" else sign for sign in apart)


def match_expression(text: str) -> str:
    """Return an FTS5 expression that matches all of these words; "" if there are none.

    Nothing in the text acts as an operator, except a star at the end of a word: "sno*" finds "snow". So no
    text gives an invalid expression.
    """
    found = [_phrase(word) for word in text[:MAX_CHARACTERS].split()]
    return " ".join(phrase for phrase in found[:MAX_WORDS] if phrase)


def plain_words(text: str) -> tuple[str, ...]:
    """Return the same words for a search without FTS5, which looks for them one by one."""
    return tuple(_words(text[:MAX_CHARACTERS])[:MAX_WORDS])


def _phrase(word: str) -> str:
    words = _words(word)
    if not words:
        return ""
    star = "*" if word.endswith("*") and len(words[-1]) > 1 else ""
    return f'"{" ".join(words)}"{star}'


def _words(text: str) -> list[str]:
    return [
        found
        for word in add_spaces(text).split()
        for found in ([word] if unicodedata.category(word[0]) == "So" else _WORD.findall(word))
    ]


_TABLE: Final = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS {} USING fts5(words, content='', "
    "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co So'\")"
)
_WORDS: Final = "spaced(coalesce(prompt, '') || ' ' || coalesce(tag, '') || ' ' || name)"
_RETAGGED: Final = (
    "INSERT INTO temp.retagged_text (rowid, words) "
    "SELECT picture.id, spaced(coalesce(prompt, '') || ' ' || new.value || ' ' || name) "
    "FROM json_each(?) AS new JOIN picture ON name = new.key WHERE width IS NOT NULL"
)
_UNTIL: Final = "coalesce((SELECT value FROM state WHERE name = 'text_until'), 0)"
"""The id of the last image whose words were entered."""

_ENTER: Final = (
    f"INSERT INTO picture_text (rowid, words) SELECT id, {_WORDS} FROM picture "  # noqa: S608 - our own words
    f"WHERE id > {_UNTIL} AND width IS NOT NULL"
)
_ENTERED: Final = "INSERT OR REPLACE INTO state SELECT 'text_until', coalesce(max(id), 0) FROM picture"
_MANY: Final = 5_000
"""Number of matches at which searching by words and scanning the newest images take about as long."""
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM picture_text WHERE picture_text MATCH ? LIMIT ?)"
_BEHIND: Final = f"SELECT max(id) > {_UNTIL} FROM picture"  # noqa: S608 - our own words


def prepare(connection: sqlite3.Connection) -> bool:
    """Set up full-text search; return False if this SQLite lacks it, or lacks our tokenizer."""
    connection.create_function("spaced", 1, add_spaces, deterministic=True)
    try:
        connection.execute(_TABLE.format("picture_text"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return False
    return True


def enter(connection: sqlite3.Connection) -> None:
    """Enter the words of all images added since the last call; must run within a transaction."""
    connection.execute(_ENTER)
    connection.execute(_ENTERED)


def enter_retagged(connection: sqlite3.Connection, tags: Mapping[str, str]) -> None:
    """Enter the words of images whose files hold an older tag, for the queries of this connection."""
    connection.execute("DROP TABLE IF EXISTS temp.retagged_text")
    connection.execute(_TABLE.format("temp.retagged_text"))
    connection.execute(_RETAGGED, (json.dumps(tags),))


def is_behind(connection: sqlite3.Connection) -> bool:
    """Return whether there are images whose words have not been entered yet."""
    return bool(connection.execute(_BEHIND).fetchone()[0])


def are_common(connection: sqlite3.Connection, expression: str) -> bool:
    """Return whether many images match an FTS5 expression."""
    return bool(expression) and connection.execute(_COUNT, (expression, _MANY)).fetchone()[0] == _MANY


def forget(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Remove the words of some images, before the images themselves; must run within a transaction.

    FTS5 does not store the text here, so it has to be given again.
    """
    marks = ", ".join("?" * len(names))
    select = f"SELECT 'delete', id, {_WORDS} FROM picture WHERE name IN ({marks})"  # noqa: S608 - marks only
    connection.execute(
        "INSERT INTO picture_text (picture_text, rowid, words) "
        f"{select} AND id <= {_UNTIL} AND width IS NOT NULL",
        names,
    )
