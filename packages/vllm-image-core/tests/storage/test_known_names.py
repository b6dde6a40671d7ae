"""Which files of a folder the index lacks."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_image_core.storage.known_names import KnownNames, changed_names, listing_of

NAMES = st.lists(st.text(st.sampled_from("ab.é\udcff"), min_size=1, max_size=3), unique=True, max_size=12)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """The two tables of an index that matter here."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE picture (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)")
        database.execute("CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER)")
        yield database


def enter(connection: sqlite3.Connection, *names: str) -> None:
    connection.executemany("INSERT INTO picture (name) VALUES (?)", [(name,) for name in names])


@given(before=NAMES, after=NAMES)
def test_added_and_removed_names_are_found_in_any_order(before: list[str], after: list[str]) -> None:
    removed, added = changed_names(listing_of(before), listing_of(after))
    assert (removed, added) == (set(before) - set(after), set(after) - set(before))


@given(names=NAMES, place=st.integers(0, 12))
def test_one_name_can_be_added_anywhere(names: list[str], place: int) -> None:
    after = [*names[:place], "new", *names[place:]]
    assert changed_names(listing_of(names), listing_of(after)) == (set(), {"new"})


def test_new_and_missing_names_are_distinguished_from_those_that_stay(connection: sqlite3.Connection) -> None:
    known = KnownNames()
    enter(connection, "a", "b")
    assert known.compare(connection, ["a", "b", "c"]) == (["c"], [])
    enter(connection, "c")
    assert known.compare(connection, ["b", "c", "d"]) == (["d"], ["a"])


def test_a_name_that_was_not_entered_is_new_again_in_an_equal_listing(connection: sqlite3.Connection) -> None:
    known = KnownNames()
    enter(connection, "a")
    assert known.compare(connection, ["a", "link"]) == (["link"], [])
    assert known.compare(connection, ["a", "link"]) == (["link"], [])
    enter(connection, "link")
    assert known.compare(connection, ["a", "link"]) == ([], [])


def test_an_entry_that_another_process_removed_is_new_in_an_equal_listing(
    connection: sqlite3.Connection,
) -> None:
    known = KnownNames()
    enter(connection, "a", "b")
    assert known.compare(connection, ["a", "b"]) == ([], [])
    connection.execute("DELETE FROM picture WHERE name = 'a'")
    assert known.compare(connection, ["a", "b"]) == (["a"], [])


def test_an_entry_that_another_process_added_is_missing_if_its_file_is(
    connection: sqlite3.Connection,
) -> None:
    known = KnownNames()
    enter(connection, "a")
    assert known.compare(connection, ["a"]) == ([], [])
    enter(connection, "gone")
    assert known.compare(connection, ["a"]) == ([], ["gone"])


def test_one_entry_less_and_one_more_are_both_noticed(connection: sqlite3.Connection) -> None:
    known = KnownNames()
    enter(connection, "a", "b")
    assert known.compare(connection, ["a", "b"]) == ([], [])
    connection.execute("DELETE FROM picture WHERE name = 'a'")
    enter(connection, "gone")
    assert known.compare(connection, ["a", "b"]) == (["a"], ["gone"])


def test_another_index_in_its_place_is_read_from_the_start(connection: sqlite3.Connection) -> None:
    known = KnownNames()
    enter(connection, "a", "b")
    assert known.compare(connection, ["a", "b"]) == ([], [])
    connection.execute("DELETE FROM picture")
    connection.execute("DELETE FROM state")
    enter(connection, "b", "c")
    assert known.compare(connection, ["a", "b"]) == (["a"], ["c"])
