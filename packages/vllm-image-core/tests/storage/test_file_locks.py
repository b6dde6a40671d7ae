import errno
import io
import os
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.database import DamagedDatabase, Database, Schema, writing
from vllm_image_core.storage.file_locks import ABANDONED_SECONDS, can_lock, remove_abandoned
from vllm_image_core.storage.library import Library

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its file systems all have locks")

NOON = datetime(2026, 2, 18, 12, tzinfo=UTC)
NOTES = Schema(
    file="notes.sqlite3",
    name="file of notes",
    tables=("note",),
    migrations=(("CREATE TABLE note (text TEXT)",),),
    unavailable=DatabaseUnavailable,
    damaged=DamagedDatabase,
    cache_kib=512,
)


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses every lock that Python asks for."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)


def saved_notes(database: Database) -> list[str]:
    with database.open() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM note")]


def write_note(database: Database, text: str) -> None:
    with database.open() as connection, writing(connection):
        connection.execute("INSERT INTO note VALUES (?)", (text,))


def test_a_folder_that_supports_locks_is_recognised_with_a_probe_file_that_is_removed(tmp_path: Path) -> None:
    assert can_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
def test_a_folder_without_locks_is_recognised_whatever_error_the_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.lockf", refuse)
    assert not can_lock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_tells_nothing_about_locks(tmp_path: Path) -> None:
    assert can_lock(tmp_path / "gone")


@pytest.mark.usefixtures("without_locks")
def test_a_database_is_usable_at_once_if_its_own_locks_are_refused(tmp_path: Path) -> None:
    database = Database(tmp_path, NOTES)
    write_note(database, "first")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as stuck:
        stuck.execute("BEGIN EXCLUSIVE")  # to others, a lock that is refused looks like one that is held
        begun = time.monotonic()
        write_note(database, "second")
        assert saved_notes(database) == ["first", "second"]
        assert time.monotonic() - begun < ABANDONED_SECONDS


@pytest.mark.usefixtures("without_locks")
def test_the_lock_of_a_dead_process_is_removed_but_not_that_of_a_living_one(tmp_path: Path) -> None:
    database = Database(tmp_path, NOTES)
    write_note(database, "first")
    lock = Path(f"{database.path}.lock")
    lock.mkdir()
    assert not remove_abandoned(database.path)
    long_ago = time.time() - 2 * ABANDONED_SECONDS
    os.utime(lock, (long_ago, long_ago))
    with closing(sqlite3.connect(database.path, isolation_level=None)) as stuck:
        stuck.execute("BEGIN EXCLUSIVE")
        assert saved_notes(database) == ["first"]
    assert not lock.exists()
    assert not remove_abandoned(database.path)


@pytest.mark.usefixtures("without_locks")
def test_a_folder_without_locks_is_reported_once_with_the_first_image(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.radial_gradient("L").save(file, "PNG")
    picture, library = Picture.check(file.getvalue()), Library(tmp_path)
    first, second = (library.save(picture, {}, prompt="a fox", now=NOON).notes for _ in range(2))
    assert [
        note.startswith(f"The file system of {tmp_path} does not support file locks") for note in first
    ] == [True]
    assert second == ()
