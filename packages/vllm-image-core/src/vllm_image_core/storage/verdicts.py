"""Verdicts: store which images people kept, rated or tagged, and move rejected ones into the folder's bin."""

import errno
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

from vllm_omni_client.imaging import rename_if_free, retry_while_held

from vllm_image_core import checks
from vllm_image_core.errors import CannotSave, InvalidRequest, VerdictsUnavailable
from vllm_image_core.storage.database import DamagedDatabase, Database, Schema, writing
from vllm_image_core.storage.filename import fold_name
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.subfolders import Subfolders
from vllm_image_core.text import brief, one_line

Verdict = Literal["keep", "reject", "clear"]
"""Keep an image, move it into the bin, or take back either."""

BIN: Final = "rejected"
"""The folder of rejected images, in the output folder; they stay there until somebody deletes them."""

MOST_STARS: Final = 5

_LONGEST_TAG: Final = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What people decided about one image.

    Attributes:
        kept: Whether it was kept.
        stars: 1 to 5; None if it was not rated.
        tag: The tag that it was given afterwards, "" if its tag was removed; None if neither.
    """

    kept: bool = False
    stars: int | None = None
    tag: str | None = None


class _DamagedVerdicts(DamagedDatabase, VerdictsUnavailable):
    """The file of verdicts is no longer a valid SQLite database; it is set aside, and a new one begun."""


_SCHEMA: Final = Schema(
    file="verdicts.sqlite3",
    name="file of verdicts",
    tables=("verdict",),
    migrations=(
        ("CREATE TABLE verdict (name TEXT PRIMARY KEY, kept INTEGER NOT NULL, stars INTEGER)",),
        ("ALTER TABLE verdict ADD COLUMN tag TEXT",),
    ),
    unavailable=VerdictsUnavailable,
    damaged=_DamagedVerdicts,
    cache_kib=1_024,
)
_ALL: Final = "SELECT name, kept, stars, tag FROM verdict"
_VERDICT: Final = (
    "INSERT INTO verdict (name, kept, stars, tag) "
    "VALUES (:name, coalesce(:kept, 0), nullif(:stars, 0), :tag) "
    "ON CONFLICT (name) DO UPDATE SET kept = coalesce(:kept, kept), "
    "stars = nullif(coalesce(:stars, stars), 0), tag = coalesce(:tag, tag)"
)


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
        self,
        names: Sequence[str],
        *,
        verdict: Verdict | None = None,
        stars: int | None = None,
        tag: str | None = None,
    ) -> tuple[Path, ...]:
        """Keep, reject, rate or tag images by file name, and return where each is afterwards.

        Args:
            names: Names of images in the folder or in its bin.
            verdict: What to do with them; None to leave them kept, rejected or neither.
            stars: 1 to 5, or 0 to remove the rating; None to leave it as it is.
            tag: The tag instead of the one they have, "" for none; None to leave it as it is.

        Raises:
            InvalidRequest: A name is not that of an image there, or a value is not valid; nothing was done.
            CannotSave: A file cannot be moved.
        """
        _check_values(verdict, stars, tag)
        names = [self._find_name(name) for name in names]
        values = {"kept": None if verdict is None else verdict == "keep", "stars": stars, "tag": tag}

        def write(connection: sqlite3.Connection) -> None:
            with writing(connection):
                connection.executemany(_VERDICT, [{"name": name, **values} for name in names])

        self._database.run(write)
        return tuple(self._moved(name, verdict) for name in names)

    def opinions(self) -> Mapping[str, Opinion]:
        """Return what was decided about each image, by its file name."""
        if not self._database.exists():
            return {}
        rows = self._database.run(lambda connection: connection.execute(_ALL).fetchall())
        return {name: Opinion(kept=bool(kept), stars=stars, tag=tag) for name, kept, stars, tag in rows}

    def _find_name(self, name: str) -> str:
        """Return an image's name as its folder lists it."""
        is_inside = not Path(name).is_absolute() and not any(
            part.startswith(".") for part in Path(name).parts
        )
        listed = listed_name(self._root, name) if is_inside else ""
        if listed.partition("/")[0] in {"", BIN} or not current_path(self._root, listed).is_file():
            raise InvalidRequest(
                f"{brief(name)} is not an image in {one_line(str(self._root), limit=300)} or in its bin.",
                parameter="images",
                value=name,
                allowed="names of images in the output folder",
            )
        return listed

    def _moved(self, name: str, verdict: Verdict | None) -> Path:
        here, there = self._root / name, self._root / BIN / name
        if verdict is None:
            return current_path(self._root, name)
        old, new = (here, there) if verdict == "reject" else (there, here)
        if not old.is_file():
            return new
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            if "/" in name:  # so that the bin is searched there, too
                Subfolders(self._root / BIN).remember(name.rpartition("/")[0])
            if not retry_while_held(lambda: rename_if_free(old, new)):
                if new.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                retry_while_held(lambda: old.rename(new))
        except OSError as error:
            where = one_line(str(new), limit=300)
            raise CannotSave(
                f"{one_line(name)} cannot be moved to {where}: {reason_of(error)}.",
                next_step=next_step_after(error, otherwise="Check the folder and its permissions."),
            ) from error
        return new


def current_path(root: Path, name: str) -> Path:
    """Return where an image of a folder is now: in the folder, or in its bin if it was rejected."""
    path, rejected = root / name, root / BIN / name
    return rejected if not path.exists() and rejected.exists() else path


def listed_name(root: Path, name: str) -> str:
    r"""Return the name by which the index knows an image in the folder or the bin; "" if neither has it.

    Most volumes of Windows and Macs find a file in another case, too, and Windows takes ``hero\fox.png`` and
    ``fox.png.`` as names of files.
    """
    return _find_below(root, name) or _find_below(root / BIN, name)


def _find_below(root: Path, name: str) -> str:
    *folders, file = Path(name).parts or ("",)
    folder = Subfolders(root).find_name("/".join(folders))
    listed = _find_in(root / folder, file)
    return f"{folder}/{listed}" if folder and listed else listed


def _find_in(folder: Path, name: str) -> str:
    path = folder / name
    if not name or not os.path.lexists(path):
        return ""
    if name.isascii() and not os.path.lexists(folder / name.swapcase()):
        return name  # this volume distinguishes case
    with suppress(OSError), Folder.existing(folder) as opened:
        names = opened.names()
        same = [name] if name in names else [each for each in names if fold_name(each) == fold_name(name)]
        return next((each for each in same if path.samefile(folder / each)), "")
    return ""


def _check_values(verdict: object, stars: object, tag: object) -> None:
    if verdict is not None and verdict not in get_args(Verdict):
        raise checks.invalid_value("verdict", verdict, "is not a verdict", "keep, reject or clear")
    if stars is not None:
        allowed = f"an integer from 1 to {MOST_STARS}, or 0 for none"
        checks.check_integer("stars", stars, 0, MOST_STARS, allowed=allowed)
    if tag is not None and not (isinstance(tag, str) and len(tag) <= _LONGEST_TAG and tag.isprintable()):
        allowed = f"one line of up to {_LONGEST_TAG} characters"
        raise checks.invalid_value("tag", tag, "is not a tag", allowed)
    if verdict is stars is tag is None:
        raise InvalidRequest(
            "There is nothing to do.", parameter="verdict", value=None, allowed="a verdict, stars or a tag"
        )
