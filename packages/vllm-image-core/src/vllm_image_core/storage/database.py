"""Open the SQLite files in the output folder, migrate them, and detect damaged or newer ones.

A folder of images may be on a network share and be written by several hosts. The files therefore use SQLite's
rollback journal: a write-ahead log needs memory that all writers share, and hosts do not share any. A
connection belongs to the thread and the operation that opened it.
"""

import os
import re
import sqlite3
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Final, TypeVar
from urllib.parse import quote

from vllm_omni_client.imaging import retry_while_held

from vllm_image_core.errors import DatabaseUnavailable
from vllm_image_core.storage.file_locks import ABANDONED_SECONDS, LOCK_FILES, can_lock, remove_abandoned
from vllm_image_core.storage.folder import Folder, exists, is_link
from vllm_image_core.storage.folder_paths import VERBATIM
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.text import one_line

FOLDER: Final = ".vllm-image"
"""The hidden folder, next to the images, that holds the files."""

_APPLICATION: Final = 0x76494D47  # "vIMG"
_BUSY_SECONDS: Final = 30.0
"""How long one writer waits for another; each holds the file for a few milliseconds."""

_LONGEST_PATH: Final = 504
"""Maximum bytes of a path for SQLite on Unix: 512 (MAX_PATHNAME in os_unix.c) minus 8 for "-journal"."""

_LOCKED_ONCE: Final = "PRAGMA schema_version"
"""The cheapest statement that takes a lock."""
_REFUSED_LOCKS: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)
_STRANGE: Final = re.compile(
    r"no such (table|column)|fts5: corrupt|invalid fts5|vtable constructor failed|Could not decode to UTF-8"
    r"|duplicate column name|already exists"
)
"""Errors that SQLite blames on a statement. Ours are correct, so the file is not as we created it."""

UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: `sqlite3` cannot decode a message that quotes a damaged schema."""

_NO_VERSION: Final = 100
"""Schema versions never get this high: a greater number means damage, not a newer package."""


class ImpossibleRow(sqlite3.DatabaseError):
    """A row with values that are never written: the file is damaged, even though SQLite can read it."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


T = TypeVar("T")


class DamagedDatabase(DatabaseUnavailable):
    """The file is no longer a valid SQLite database.

    Attributes:
        identity: Device and inode of the damaged file.
    """

    def __init__(self, message: str, *, identity: tuple[int, int]) -> None:
        super().__init__(message)
        self.identity = identity


JOURNAL_FILE: Final = "batches.sqlite3"
"""The journal of batches, in the output folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a file holds, and which errors are raised if it cannot be used.

    Attributes:
        file: The name of the file, ending in ".sqlite3".
        name: What the file is called in messages, as in "The index ... cannot be used".
        tables: The tables that must always exist.
        migrations: Statements by schema version: those at position 0 lead from an empty file to version 1,
            and so on.
        unavailable: The error for a file that cannot be opened, read or written.
        damaged: The error for a file that is no longer a valid database; a subclass of `unavailable`.
        cache_kib: The most memory that one connection uses for its cache.
    """

    file: str
    name: str
    tables: tuple[str, ...]
    migrations: Sequence[Sequence[str]]
    unavailable: type[DatabaseUnavailable]
    damaged: type[DamagedDatabase]
    cache_kib: int


@dataclass(frozen=True)  # without slots, so that the path can be cached
class Database:
    """A database file in one folder of images.

    Its methods raise `DamagedDatabase` if the file is damaged, and `DatabaseUnavailable` if it cannot be
    used.
    """

    root: Path
    schema: Schema

    @cached_property
    def path(self) -> Path:
        """The path of the file."""
        return self.root / FOLDER / self.schema.file

    def exists(self) -> bool:
        """Return whether the file exists."""
        try:
            return exists(self.path)
        except OSError as error:
            raise self._refusal(error) from error

    @contextmanager
    def open(self) -> "Generator[sqlite3.Connection]":
        """Open a connection for this thread and operation; create the file and its tables if missing.

        It must not be locked for long, belong to another program, or be from a newer version.
        """
        identity = self._create()
        try:
            with closing(self._connect()) as connection:
                self._migrate(connection)
                yield connection
        except sqlite3.DatabaseError as error:
            traceback.clear_frames(error.__traceback__)  # a cursor in them keeps the file open
            raise self._translate(error, identity) from error
        except UnicodeDecodeError as error:
            traceback.clear_frames(error.__traceback__)
            raise self._damage("is damaged: its schema is not text", identity) from error

    def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        repair: Callable[[DamagedDatabase], object] | None = None,
    ) -> T:
        """Call a function with a connection; if the file is damaged, repair it and call the function again.

        `repair` gets the damage; None to set the file aside, so that an empty one takes its place.
        """
        try:
            with self.open() as connection:
                return work(connection)
        except DamagedDatabase as damage:
            if repair is None:
                self.set_aside(damage.identity)
            else:
                repair(damage)
            with self.open() as connection:
                return work(connection)

    def check_file(self, connection: sqlite3.Connection) -> None:
        """Check the complete file for damage: a tenth of a second for 100,000 images."""
        self._check(connection, "PRAGMA quick_check(1)")

    def check_each_row(self, connection: sqlite3.Connection) -> None:
        """Check the file, and each row against each index, which takes ten times as long."""
        self._check(connection, "PRAGMA integrity_check(1)")

    def _check(self, connection: sqlite3.Connection, pragma: str) -> None:
        found = connection.execute(pragma).fetchone()[0]
        if found != "ok":
            raise self._damage(f"is damaged: {one_line(str(found))}", self._identity())

    def set_aside(self, identity: tuple[int, int], *, replacement: str | None = None) -> Path | None:
        """Rename a damaged file, so that opening creates a new one; skip it if another process already did.

        Nothing is deleted, so that data can still be recovered from it. Another file of the folder can be its
        `replacement`; then there is a file of this name at any moment. Returns the new path, or None.
        """
        try:
            aside = self._free_name()
            if self._identity() != identity:
                return None
            # The journal first: next to a new file, it would be played back into that file.
            with _moved_aside(Path(f"{self.path}-journal"), Path(f"{aside}-journal")):
                if replacement is None:
                    _rename(self.path, aside)
                else:
                    self._replace(self.path.with_name(replacement), aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal(error) from error
        return aside

    def _replace(self, replacement: Path, aside: Path) -> None:
        """Put another file in the place of this one, which gets a new name."""
        try:
            aside.hardlink_to(self.path)
        except (OSError, NotImplementedError):  # hard links are not supported here
            with _moved_aside(self.path, aside):
                retry_while_held(lambda: replacement.replace(self.path))
            return
        try:
            retry_while_held(lambda: replacement.replace(self.path))
        except OSError:
            with suppress(OSError):
                retry_while_held(aside.unlink)
            raise

    def _create(self) -> tuple[int, int]:
        """Create the file if it is missing, and return its identity; never follow a link.

        An empty file is linked into place, and SQLite opens it without creating one. So a symbolic link put
        in its place cannot create a file elsewhere, and no lock is lost by closing a file of that name.
        """
        path = self.path
        try:
            if is_link(path.parent) or is_link(path):
                raise self._unavailable("it is a symbolic link")
            if not exists(path):
                with Folder.open(path.parent) as folder, folder.temporary(b"") as empty:
                    folder.place(empty, self.schema.file)
            return self._identity()
        except OSError as error:
            raise self._refusal(error) from error

    def _identity(self) -> tuple[int, int]:
        status = self.path.lstat()
        return status.st_dev, status.st_ino

    def _free_name(self) -> Path:
        number = 1
        while (aside := self.path.with_name(f"{self.path.stem}.damaged-{number}.sqlite3")).exists():
            number += 1
        return aside

    def _connect(self) -> sqlite3.Connection:
        connection = self._locking()
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")
            # A file from elsewhere must not be able to run functions of its choice.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # a Mac's fsync leaves data in the drive's cache
            connection.execute(f"PRAGMA cache_size = -{self.schema.cache_kib}")
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        except UNREADABLE:
            connection.close()
            raise
        return connection

    def _locking(self) -> sqlite3.Connection:
        """Open a connection whose locks work: a file system without locks looks locked forever to SQLite."""
        connection = self._connection()
        try:
            connection.execute(_LOCKED_ONCE).fetchone()
        except UNREADABLE as error:
            if _code(error) in _REFUSED_LOCKS and not can_lock(self.path.parent):
                connection.close()
                return self._locking_by_files()
            if _code(error) != sqlite3.SQLITE_BUSY:
                connection.close()
                raise
        return connection

    def _locking_by_files(self) -> sqlite3.Connection:
        """Open a connection that locks with files, and remove a lock that a dead process has left."""
        remove_abandoned(self.path)
        connection = self._connection(LOCK_FILES)
        try:
            connection.execute(f"PRAGMA busy_timeout = {ABANDONED_SECONDS * 1000:.0f}")
            connection.execute(_LOCKED_ONCE).fetchone()
        except UNREADABLE as error:
            if _code(error) != sqlite3.SQLITE_BUSY or not remove_abandoned(self.path):
                connection.close()
                raise
        return connection

    def _connection(self, vfs: str | None = None) -> sqlite3.Connection:
        """Open a connection that does not wait for locks."""
        by = "" if vfs is None else f"&vfs={vfs}"
        return sqlite3.connect(
            f"{file_uri(self.path)}?mode=rw{by}", uri=True, timeout=0, isolation_level=None
        )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if self._version(connection) == len(self.schema.migrations):
            if not self._has_tables(connection):
                raise self._damage("is damaged: a table is missing", self._identity())
            return
        with writing(connection):
            version = self._version(connection)  # another process may have been first
            for statements in self.schema.migrations[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {len(self.schema.migrations)}")

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the version of the schema, 0 for an empty file."""
        application = _number(connection, "PRAGMA application_id")
        version = _number(connection, "PRAGMA user_version")
        if application not in {0, _APPLICATION}:
            if self._has_tables(connection):
                raise self._damage("is damaged: its application ID has changed", self._identity())
            raise self._unavailable("it belongs to another program")
        if not 0 <= version <= _NO_VERSION:
            raise self._damage(f"is damaged: its schema version is {version}", self._identity())
        if version > len(self.schema.migrations):
            raise self.schema.unavailable(
                f"{self._display_name} was written by a newer version of this package: its schema "
                f"version is {version}, while this one supports {len(self.schema.migrations)}. The file was "
                "not changed.",
                next_step="Upgrade vllm-image-core, or choose another output folder.",
            )
        return version

    def _has_tables(self, connection: sqlite3.Connection) -> bool:
        marks = ", ".join("?" * len(self.schema.tables))
        found = connection.execute(
            f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({marks})",  # noqa: S608 - marks only
            self.schema.tables,
        ).fetchone()[0]
        return found == len(self.schema.tables)

    def _translate(self, error: sqlite3.DatabaseError, identity: tuple[int, int]) -> Exception:
        """Map a SQLite error to a damaged or unavailable file; return any other, a bug of ours, as it is."""
        code = _code(error)
        is_strange = code in {sqlite3.SQLITE_OK, sqlite3.SQLITE_ERROR} and _STRANGE.search(str(error))
        # Our statements satisfy every constraint, so a violation means that an index lacks a row.
        if code in _DAMAGED or is_strange or isinstance(error, sqlite3.IntegrityError):
            return self._damage(f"is damaged: {one_line(str(error))}", identity)
        if code == sqlite3.SQLITE_READONLY:
            return self.schema.unavailable(
                f"{self._display_name} cannot be used: it is not writable.",
                next_step="Make the file and its folder writable for this program, or choose another output "
                "folder.",
            )
        if (
            code == sqlite3.SQLITE_CANTOPEN
            and (length := len(os.fsencode(os.path.realpath(self.path)))) > _LONGEST_PATH
        ):
            return self.schema.unavailable(
                f"{self._display_name} cannot be used: its path has {length} bytes; SQLite supports at "
                f"most {_LONGEST_PATH}.",
                next_step=f"Choose an output folder whose path is at least {length - _LONGEST_PATH} bytes "
                "shorter.",
            )
        return self._unavailable(str(error)) if isinstance(error, sqlite3.OperationalError) else error

    def _refusal(self, error: OSError) -> DatabaseUnavailable:
        """Build the error for an operation that the system refuses."""
        return self.schema.unavailable(
            f"{self._display_name} cannot be used: {reason_of(error)}.",
            next_step=next_step_after(error, otherwise=self.schema.unavailable.usual_next_step),
        )

    def _unavailable(self, reason: str) -> DatabaseUnavailable:
        return self.schema.unavailable(f"{self._display_name} cannot be used: {one_line(reason)}.")

    def _damage(self, what: str, identity: tuple[int, int]) -> DamagedDatabase:
        return self.schema.damaged(f"{self._display_name} {what}.", identity=identity)

    @property
    def _display_name(self) -> str:
        return f"The {self.schema.name} {one_line(str(self.path), limit=300)}"


@contextmanager
def _moved_aside(path: Path, aside: Path) -> Generator[None]:
    """Rename a file if it exists, and give it its name back if the block fails."""
    try:
        _rename(path, aside)
    except FileNotFoundError:
        yield
        return
    try:
        yield
    except OSError:
        with suppress(OSError):
            _rename(aside, path)
        raise


def _rename(old: Path, new: Path) -> None:
    retry_while_held(lambda: old.rename(new))


@contextmanager
def writing(connection: sqlite3.Connection) -> Generator[None]:
    """Run one transaction as the only writer; roll it back after any error."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def file_uri(path: PurePath) -> str:
    r"""Return a file: URI; it keeps undecodable bytes, and works for `\\server\share` and `\\?\C:\`."""
    if str(path).startswith(VERBATIM):  # with slashes, Windows would limit its length
        return f"file:{quote(os.fsencode(path))}"
    encoded = quote(os.fsencode(path.as_posix()))
    return f"file://{encoded}" if encoded.startswith("/") else f"file:///{encoded}"


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
