"""Verdicts: store which images people kept or rated, and move rejected ones into a bin in the folder."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

from vllm_omni_client.imaging import rename_if_free, retry_while_held

from vllm_image_core import checks
from vllm_image_core.errors import CannotSave, InvalidRequest, VerdictsUnavailable
from vllm_image_core.storage.database import DamagedDatabase, Database, Schema, writing
from vllm_image_core.storage.os_errors import reason_of
from vllm_image_core.text import brief, one_line

__all__ = ["BIN", "Verdict", "Verdicts", "current_path"]

Verdict = Literal["keep", "reject", "clear"]
"""Keep an image, move it into the bin, or take back either."""

BIN: Final = "rejected"
"""The folder of rejected images, in the output folder; they stay there until somebody deletes them."""

MOST_STARS: Final = 5

T = TypeVar("T")


class _DamagedVerdicts(DamagedDatabase, VerdictsUnavailable):
    """The file of verdicts is no longer a valid SQLite database; it is set aside, and a new one begun."""


_SCHEMA: Final = Schema(
    file="verdicts.sqlite3",
    name="file of verdicts",
    tables=("verdict",),
    migrations=((("CREATE TABLE verdict (name TEXT PRIMARY KEY, kept INTEGER NOT NULL, stars INTEGER)"),),),
    unavailable=VerdictsUnavailable,
    damaged=_DamagedVerdicts,
    cache_kib=1_024,
)
_KEPT: Final = "SELECT name FROM verdict WHERE kept"
_RATED: Final = "SELECT name FROM verdict WHERE stars >= ?"
_VERDICT: Final = (
    "INSERT INTO verdict VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
    "kept = CASE WHEN ? THEN excluded.kept ELSE kept END, stars = coalesce(excluded.stars, stars)"
)
_CLEARED: Final = "DELETE FROM verdict WHERE name = ?"


class Verdicts:
    """What people decided about the images of one folder; safe to use from many threads and processes.

    Its methods block on the disk, and raise `VerdictsUnavailable` if their file cannot be used.

    Args:
        root: The folder of the images, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._database = Database(root, _SCHEMA)

    def decide(
        self, names: Sequence[str], *, verdict: Verdict | None = None, stars: int | None = None
    ) -> tuple[Path, ...]:
        """Keep, reject or rate images by file name, and return where each is afterwards.

        Args:
            names: Names of images in the folder or in its bin.
            verdict: What to do with them; None to rate them only.
            stars: 1 to 5; None to leave their rating as it is.

        Raises:
            InvalidRequest: A name is not that of an image there, or a value is not valid; nothing was done.
            CannotSave: A file cannot be moved.
        """
        if verdict is not None and verdict not in get_args(Verdict):
            raise checks.invalid_value("verdict", verdict, "is not a verdict", "keep, reject or clear")
        if stars is not None:
            checks.check_integer("stars", stars, 1, MOST_STARS, allowed=f"an integer from 1 to {MOST_STARS}")
        if verdict is None and stars is None:
            raise InvalidRequest(
                "There is nothing to do.", parameter="verdict", value=None, allowed="a verdict or stars"
            )
        for name in names:
            self._check(name)
        self._run(lambda connection: _write(connection, names, verdict, stars))
        return tuple(self._moved(name, verdict) for name in names)

    def kept_names(self) -> frozenset[str]:
        """Return the names of the images that were kept."""
        return self._names(_KEPT, ())

    def rated(self, stars: int) -> frozenset[str]:
        """Return the names of the images with at least so many stars."""
        return self._names(_RATED, (stars,))

    def _names(self, statement: str, values: Sequence[object]) -> frozenset[str]:
        if not self._database.exists():
            return frozenset()
        return self._run(
            lambda connection: frozenset(row[0] for row in connection.execute(statement, values))
        )

    def _check(self, name: str) -> None:
        is_plain = bool(name) and name == Path(name).name and not name.startswith(".")
        if not is_plain or not current_path(self._root / name).is_file():
            raise InvalidRequest(
                f"{brief(name)} is not an image in {one_line(str(self._root), limit=300)} or in its bin.",
                parameter="images",
                value=name,
                allowed="names of images in the output folder",
            )

    def _moved(self, name: str, verdict: Verdict | None) -> Path:
        here, there = self._root / name, self._root / BIN / name
        if verdict is None:
            return current_path(here)
        old, new = (here, there) if verdict == "reject" else (there, here)
        if not old.is_file():
            return new
        try:
            new.parent.mkdir(exist_ok=True)
            if not retry_while_held(lambda: rename_if_free(old, new)):
                if new.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                old.rename(new)
        except OSError as error:
            where = one_line(str(new), limit=300)
            raise CannotSave(f"{one_line(name)} cannot be moved to {where}: {reason_of(error)}.") from error
        return new

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._database.open() as connection:
                return work(connection)
        except DamagedDatabase as error:
            self._database.set_aside(error.identity)
            with self._database.open() as connection:
                return work(connection)


def current_path(path: Path) -> Path:
    """Return where an image is now: in its folder, or in the folder's bin if it was rejected."""
    rejected = path.parent / BIN / path.name
    return rejected if not path.exists() and rejected.exists() else path


def _write(
    connection: sqlite3.Connection, names: Iterable[str], verdict: Verdict | None, stars: int | None
) -> None:
    with writing(connection):
        for name in names:
            if verdict == "clear" and stars is None:
                connection.execute(_CLEARED, (name,))
            else:
                connection.execute(_VERDICT, (name, verdict == "keep", stars, verdict is not None))
