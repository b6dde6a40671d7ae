"""Full-text search in the index's file."""

import sqlite3
from collections.abc import Generator
from contextlib import closing

import pytest
from vllm_image_core.storage import full_text
from vllm_image_core.storage.full_text import add_spaces, match_expression, plain_words
from vllm_image_core.storage.index_tables import INDEX


@pytest.fixture
def connection() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statements in INDEX.migrations:
            for statement in statements:
                connection.execute(statement)
        if not full_text.prepare(connection):
            pytest.skip("this Python's SQLite has no FTS5")
        yield connection


def put(connection: sqlite3.Connection, name: str, prompt: str, *, width: int | None = 8) -> None:
    connection.execute(
        "INSERT INTO picture (name, bytes, modified_ns, created, width, prompt) VALUES (?, 1, 2, 3, ?, ?)",
        (name, width, prompt),
    )


def found(connection: sqlite3.Connection, expression: str) -> list[int]:
    rows = connection.execute("SELECT rowid FROM picture_text WHERE picture_text MATCH ?", (expression,))
    return sorted(number for (number,) in rows)


def test_words_are_entered_once_and_new_ones_with_the_next_call(connection: sqlite3.Connection) -> None:
    put(connection, "1.png", "a red fox")
    assert full_text.is_behind(connection)
    full_text.enter(connection)
    full_text.enter(connection)
    put(connection, "2.png", "another fox")
    full_text.enter(connection)
    assert not full_text.is_behind(connection)
    assert found(connection, '"fox"') == [1, 2]


def test_anything_but_an_image_has_no_words(connection: sqlite3.Connection) -> None:
    put(connection, "1.png", "a red fox", width=None)
    full_text.enter(connection)
    full_text.forget(connection, ["1.png"])
    assert found(connection, '"fox"') == []


def test_forgotten_words_are_no_longer_found(connection: sqlite3.Connection) -> None:
    for name in ("1.png", "2.png"):
        put(connection, name, "a red fox 雪 🦊")
    full_text.enter(connection)
    put(connection, "3.png", "a fox whose words were never entered")
    full_text.forget(connection, ["1.png", "3.png", "not there.png"])
    assert [found(connection, f'"{word}"') for word in ("fox", "雪", "🦊")] == [[2]] * 3


def test_many_images_with_a_word_make_it_common(connection: sqlite3.Connection) -> None:
    for number in range(5_000):
        put(connection, f"{number}.png", "a photograph" if number else "a photograph of a zebra")
    full_text.enter(connection)
    words = ('"photograph"', '"zebra"', "")
    assert [full_text.are_common(connection, word) for word in words] == [True, False, False]


def test_sqlite_without_fts5_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_text, "_TABLE", "CREATE VIRTUAL TABLE picture_text USING fts99(words)")
    with closing(sqlite3.connect(":memory:")) as connection:
        assert not full_text.prepare(connection)


def test_another_error_is_not_taken_for_a_missing_fts5(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect("file:none?mode=memory", uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            full_text.prepare(connection)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox", "a red fox"),
        ("雪の狐", " 雪  の  狐 "),
        ("fox🦊fox", "fox 🦊 fox"),
        ("\uff26\uff4f\uff58", "Fox"),
        ("Füchse", "Füchse"),
    ],
)
def test_words_in_scripts_without_spaces_and_emoji_are_found(text: str, expected: str) -> None:
    assert add_spaces(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red fox", '"red" "fox"'),
        ("img_2026-02", '"img 2026 02"'),
        ("sno*", '"sno"*'),
        ("s*", '"s"'),
        ("sn*ow", '"sn ow"'),
        ("雪の", '"雪 の"'),
        ("🦊", '"🦊"'),
        ('" OR ""', '"OR"'),
        ("NEAR(a b, 3)", '"NEAR a" "b" "3"'),
        ("words:x AND NOT y", '"words x" "AND" "NOT" "y"'),
        ("!!! - ^ ( ) * _", ""),
        ("\0 \ud800", ""),
        ("", ""),
    ],
)
def test_the_only_operator_in_text_is_a_star_after_two_letters(text: str, expected: str) -> None:
    assert match_expression(text) == expected


def test_long_text_is_cut() -> None:
    assert len(match_expression("ab " * 1_000_000)) == 32 * 5 - 1
    assert plain_words("x" * 1_000_000) == ("x" * 1000,)


def test_plain_words_contain_no_like_wildcards() -> None:
    assert plain_words("50% of_foxes! 雪の") == ("50", "of", "foxes", "雪", "の")
