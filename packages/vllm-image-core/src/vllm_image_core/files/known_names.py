"""The names that an index knows, kept in memory between two looks at them."""

import sqlite3
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import Final

__all__ = ["KnownNames"]

_NO_NAME: Final = "/"
"""What no system allows in a name. All names in one text are read several times as fast as row by row."""
_NAMES: Final = f"SELECT group_concat(name, '{_NO_NAME}') FROM picture"  # noqa: S608 - our own sign
_NEWER: Final = f"{_NAMES} WHERE id > ?"
# Apart from each other: together they would read every row.
_LAST: Final = "SELECT (SELECT count(*) FROM picture), (SELECT coalesce(max(id), 0) FROM picture)"
_MARKED: Final = "INSERT OR IGNORE INTO state VALUES ('mark', random())"
_MARK: Final = "SELECT value FROM state WHERE name = 'mark'"
"""By which one file of the index is told from another that was put in its place."""


class KnownNames:
    """The names of all files that are entered in the index; not for several threads at once."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._last_id = 0
        self._names: set[str] = set()

    def of(self, connection: sqlite3.Connection) -> AbstractSet[str]:
        """The names as they are now; only those that came since the last time are read.

        An id is never used twice. So whatever came has a greater one, and where there are as many names as
        entries then, none was taken out.
        """
        row = connection.execute(_MARK).fetchone()
        if row is None:
            connection.execute(_MARKED)
            row = connection.execute(_MARK).fetchone()
        entries, last_id = connection.execute(_LAST).fetchone()
        if row[0] == self._mark:
            self._names.update(_names(connection.execute(_NEWER, (self._last_id,))))
        if row[0] != self._mark or entries != len(self._names):
            self._names = set(_names(connection.execute(_NAMES)))
        self._mark, self._last_id = row[0], last_id
        return self._names

    def discard(self, names: Collection[str]) -> None:
        """Forget names that are taken out of the index; if they are not after all, they are read again."""
        self._names.difference_update(names)


def _names(found: sqlite3.Cursor) -> Collection[str]:
    names: str | None = found.fetchone()[0]
    return () if names is None else names.split(_NO_NAME)
