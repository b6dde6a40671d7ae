"""Find the files that a folder's index lacks, without comparing every name after each change."""

import sqlite3
from collections.abc import Collection, Sequence
from itertools import filterfalse
from typing import Final

_NO_NAME: Final = "\0"
"""Not allowed in names on any system. Reading all names as one string is much faster than row by row."""
_NAMES: Final = "SELECT group_concat(name, char(0)) FROM picture"
_NEWER: Final = f"{_NAMES} WHERE id > ?"
# As separate subqueries: a combined query would read every row.
_LAST: Final = "SELECT (SELECT count(*) FROM picture), (SELECT coalesce(max(id), 0) FROM picture)"
_MARKED: Final = "INSERT OR IGNORE INTO state VALUES ('mark', random())"
_MARK: Final = "SELECT value FROM state WHERE name = 'mark'"
"""Distinguishes an index file from another one that replaced it."""


class KnownNames:
    """Caches the names of all files in the index, and the folder's last listing; not thread-safe."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._last_id = 0
        self._names: set[str] = set()
        self._listing = listing_of(())
        self._others: set[str] = set()

    def compare(
        self, connection: sqlite3.Connection, names: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names in a folder that the index lacks, and the names in the index that it lacks.

        Folders list unchanged names in the same order, so that only the part of the listing that has changed
        since the last call is compared with the index, unless the index has changed in another way, too.
        """
        known, listing = self._current(connection), listing_of(names)
        removed, added = changed_names(self._listing, listing)
        others = set(filterfalse(known.__contains__, (self._others - removed) | added))
        gone = known & removed
        if len(names) - len(others) != len(known) - len(gone):
            others = set(filterfalse(known.__contains__, names))
            gone = known.difference(names)
        self._listing, self._others = listing, others
        return sorted(others), sorted(gone)

    def discard(self, names: Collection[str]) -> None:
        """Drop names that are being removed from the index; if the removal fails, they are read again."""
        self._names.difference_update(names)

    def _current(self, connection: sqlite3.Connection) -> set[str]:
        """Return the current names, reading only those added since the last call.

        An id is never used twice, so new entries have greater ids. If there are then as many names as
        entries, none was removed.
        """
        row = connection.execute(_MARK).fetchone()
        if row is None:
            connection.execute(_MARKED)
            row = connection.execute(_MARK).fetchone()
        entries, last_id = connection.execute(_LAST).fetchone()
        if row[0] == self._mark:
            self._names |= _names(*connection.execute(_NEWER, (self._last_id,)).fetchone())
        if row[0] != self._mark or entries != len(self._names):
            self._names = _names(*connection.execute(_NAMES).fetchone())
            self._listing, self._others = listing_of(()), set()
        self._mark, self._last_id = row[0], last_id
        return self._names


def listing_of(names: Sequence[str]) -> str:
    """Return a listing as one string, with a null byte before and after each name."""
    return f"{_NO_NAME}{_NO_NAME.join(names)}{_NO_NAME}"


def changed_names(before: str, after: str) -> tuple[set[str], set[str]]:
    """Return the names that were removed from a listing, and those that were added to it."""
    start = before.rfind(_NO_NAME, 0, _common_length(before, after))
    parts = before[start:], after[start:]
    end = _common_length(*parts, from_end=True)
    removed, added = (_names(part[: part.find(_NO_NAME, len(part) - end)]) for part in parts)
    return removed - added, added - removed  # without those that only moved


def _common_length(one: str, other: str, *, from_end: bool = False) -> int:
    """Return how many characters at the start, or at the end, two strings have in common."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        parts = (
            text[len(text) - middle : len(text) - least] if from_end else text[least:middle]
            for text in (one, other)
        )
        if next(parts) == next(parts):
            least = middle
        else:
            most = middle - 1
    return least


def _names(listing: str | None) -> set[str]:
    return set((listing or "").split(_NO_NAME)) - {""}
