"""The SQLite file next to the images."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

import pytest
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.storage.database import DamagedDatabase, Database, file_uri, writing
from vllm_image_core.storage.index_tables import INDEX

DEADLINE_SECONDS = 60
STARS = ("ALTER TABLE picture ADD COLUMN stars INTEGER", "UPDATE picture SET stars = 3")
LATER = replace(INDEX, migrations=(*INDEX.migrations, STARS))

ENTERS = """
import sys
from pathlib import Path
from vllm_image_core.storage.database import Database, writing
from vllm_image_core.storage.index_tables import INDEX
for number in range(25):
    with Database(Path(sys.argv[1]), INDEX).open() as connection, writing(connection):
        name = f"{sys.argv[2]}-{number}.png"
        statement = "INSERT INTO picture (name, bytes, modified_ns, created) VALUES (?, 1, 2, 3)"
        connection.execute(statement, (name,))
"""


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def entered(database: Database, name: str) -> None:
    with database.open() as connection, writing(connection):
        connection.execute(
            "INSERT INTO picture (name, bytes, modified_ns, created) VALUES (?, 1, 2, 3)", (name,)
        )


def names(database: Database) -> list[str]:
    with database.open() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM picture ORDER BY name")]


def enter_many(root: Path, process: int) -> None:
    for number in range(25):
        entered(Database(root, INDEX), f"{process}-{number}.png")


def test_the_file_is_created_if_it_is_missing_and_stays(tmp_path: Path) -> None:
    entered(Database(tmp_path, INDEX), "fox.png")
    assert names(Database(tmp_path, INDEX)) == ["fox.png"]
    assert [path.name for path in (tmp_path / ".vllm-image").iterdir() if path.stat().st_size] == [
        "index.sqlite3"
    ]
    assert version(tmp_path / ".vllm-image" / "index.sqlite3") == len(INDEX.migrations)


def test_the_journal_uses_a_mode_that_works_on_network_shares(tmp_path: Path) -> None:
    with Database(tmp_path, INDEX).open() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_on_a_mac_a_commit_reaches_the_disk_itself(tmp_path: Path) -> None:
    with Database(tmp_path, INDEX).open() as connection:
        assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)


def test_an_older_schema_is_migrated_with_its_content(tmp_path: Path) -> None:
    entered(Database(tmp_path, INDEX), "fox.png")
    with Database(tmp_path, LATER).open() as connection:
        assert connection.execute("SELECT name, stars FROM picture").fetchall() == [("fox.png", 3)]
    assert version(Database(tmp_path, INDEX).path) == len(LATER.migrations)


def test_files_of_different_schemas_can_be_next_to_each_other(tmp_path: Path) -> None:
    other = replace(
        INDEX,
        file="other.sqlite3",
        name="other file",
        tables=("mine",),
        migrations=(("CREATE TABLE mine (a)",),),
    )
    entered(Database(tmp_path, INDEX), "fox.png")
    with Database(tmp_path, other).open() as connection, writing(connection):
        connection.execute("INSERT INTO mine VALUES (1)")
    assert names(Database(tmp_path, INDEX)) == ["fox.png"]
    Database(tmp_path, other).path.write_bytes(b"damaged " * 1000)
    with pytest.raises(DamagedDatabase, match=r"The other file .*other\.sqlite3 is damaged") as caught:
        names(Database(tmp_path, other))
    Database(tmp_path, other).set_aside(caught.value.identity)
    assert (tmp_path / ".vllm-image" / "other.damaged-1.sqlite3").exists()
    assert names(Database(tmp_path, INDEX)) == ["fox.png"]


def test_a_newer_schema_is_refused_with_both_numbers_and_left_alone(tmp_path: Path) -> None:
    entered(Database(tmp_path, LATER), "fox.png")
    before = Database(tmp_path, INDEX).path.read_bytes()
    with pytest.raises(IndexUnavailable, match="is 5, while this one supports 4") as caught:
        names(Database(tmp_path, INDEX))
    assert "Upgrade" in caught.value.next_step
    assert Database(tmp_path, INDEX).path.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    entered(Database(tmp_path, INDEX), "fox.png")
    broken = replace(LATER, migrations=(*LATER.migrations, ("INSERT INTO missing VALUES (1)",)))
    with pytest.raises(IndexUnavailable, match="no such table: missing"):
        names(Database(tmp_path, broken))
    assert names(Database(tmp_path, INDEX)) == ["fox.png"]


def test_many_threads_and_processes_open_and_write_it_at_the_same_time(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", ENTERS, str(tmp_path), str(number)] for number in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(enter_many, [tmp_path] * 4, range(2, 6), timeout=DEADLINE_SECONDS))
    assert [process.wait(DEADLINE_SECONDS) for process in processes] == [0, 0]
    assert len(names(Database(tmp_path, INDEX))) == 6 * 25


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    def enter_and_fail() -> None:
        with Database(tmp_path, INDEX).open() as connection, writing(connection):
            connection.execute("INSERT INTO state VALUES ('a', 1)")
            raise KeyError

    with pytest.raises(KeyError):
        enter_and_fail()
    with Database(tmp_path, INDEX).open() as connection:
        assert connection.execute("SELECT count(*) FROM state").fetchone() == (0,)


def test_a_reader_sees_the_state_before_a_write_in_progress(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    with database.open() as writer, writing(writer):
        writer.execute("DELETE FROM picture")
        assert names(database) == ["fox.png"]
    assert names(database) == []


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_bytes_that_are_not_a_database_are_damage(tmp_path: Path, content: bytes) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    database.path.write_bytes(content)
    with pytest.raises(DamagedDatabase, match="is damaged"):
        names(database)


@pytest.mark.parametrize("byte", [b"\x80", b"\xc3", b"\xe4", b"\xff"])
@pytest.mark.parametrize("word", [b"CREATE TABLE picture", b"CREATE TABLE state"])
def test_a_schema_that_is_not_text_is_damage(tmp_path: Path, word: bytes, byte: bytes) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    content = database.path.read_bytes()
    assert word in content
    # SQLite quotes the word that it does not understand, and its message is then not text either.
    database.path.write_bytes(content.replace(word, word.replace(b"TABLE", b"TABL" + byte)))
    with pytest.raises(DamagedDatabase, match="is damaged"), database.open():
        pass


def test_a_database_without_our_tables_is_damage(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("DROP TABLE state")
    with pytest.raises(DamagedDatabase, match="a table is missing"):
        names(database)


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    database.path.parent.mkdir()
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(IndexUnavailable, match="belongs to another program"):
        names(database)
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_damaged_file_is_set_aside_with_its_journal_and_never_deleted(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    for number in (1, 2):
        entered(database, "fox.png")
        database.path.write_bytes(b"damaged " * 1000)
        with pytest.raises(DamagedDatabase) as caught:
            names(database)
        (tmp_path / ".vllm-image" / "index.sqlite3-journal").write_bytes(b"journal")
        database.set_aside(caught.value.identity)
        aside = tmp_path / ".vllm-image" / f"index.damaged-{number}.sqlite3"
        assert aside.read_bytes() == b"damaged " * 1000
        assert Path(f"{aside}-journal").read_bytes() == b"journal"
    assert names(database) == []


def test_work_on_a_damaged_file_is_repeated_after_the_repair(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    database.path.write_bytes(b"damaged " * 1000)
    repaired: list[DamagedDatabase] = []

    def repair(damage: DamagedDatabase) -> None:
        repaired.append(damage)
        database.set_aside(damage.identity)
        entered(database, "hare.png")

    assert database.run(_names, repair=repair) == ["hare.png"]
    assert len(repaired) == 1
    database.path.write_bytes(b"damaged " * 1000)
    assert database.run(_names) == []  # without another repair, an empty file takes its place
    assert len(list(database.path.parent.glob("index.damaged-*.sqlite3"))) == 2


def _names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM picture")]


@pytest.mark.parametrize(
    "no_links", [None, OSError(errno.EINVAL, "Incorrect function"), NotImplementedError()]
)
@pytest.mark.parametrize("replacement", [None, "new.sqlite3"])
def test_a_damaged_file_that_is_open_elsewhere_keeps_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacement: str | None, no_links: Exception | None
) -> None:
    move, remove, database = os.replace, os.unlink, Database(tmp_path, INDEX)
    tries: Counter[str] = Counter()
    blocked = replacement or database.path.name

    def open_elsewhere(old: Path, new: Path) -> None:
        if old.name == blocked:
            raise PermissionError(errno.EACCES, "it is being used by another process", str(old))
        move(old, new)

    def held_at_first(path: Path, **options: int | None) -> None:
        tries[path.name] += 1
        if tries[path.name] == 1:
            raise PermissionError(errno.EACCES, "it is being used by another process", str(path))
        remove(path, **options)

    def link(*_: object) -> None:
        assert no_links
        raise no_links

    entered(database, "fox.png")
    database.path.write_bytes(b"damaged " * 1000)
    with pytest.raises(DamagedDatabase) as caught:
        names(database)
    folder = tmp_path / ".vllm-image"
    (folder / "index.sqlite3-journal").write_bytes(b"journal")
    (folder / "new.sqlite3").write_bytes(b"new")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("vllm_omni_client._imaging.held_files.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(sys, "platform", "win32")  # emulated: an open file is not renamed or replaced
    monkeypatch.setattr(os, "rename", open_elsewhere)
    monkeypatch.setattr(os, "replace", open_elsewhere)
    monkeypatch.setattr(os, "unlink", held_at_first)
    if no_links:
        monkeypatch.setattr(os, "link", link)
    with pytest.raises(IndexUnavailable, match="another program has the file open") as refused:
        database.set_aside(caught.value.identity, replacement=replacement)
    assert "Close the program" in refused.value.next_step
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_another_process_has_already_replaced_is_not_set_aside(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")
    database.path.write_bytes(b"damaged " * 1000)
    with pytest.raises(DamagedDatabase) as caught:
        names(database)
    database.set_aside(caught.value.identity)
    entered(database, "hare.png")
    database.set_aside(caught.value.identity)
    assert names(database) == ["hare.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's links")
@pytest.mark.parametrize("link", [".vllm-image", ".vllm-image/index.sqlite3"])
def test_a_link_elsewhere_is_not_followed(tmp_path: Path, link: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    entered(Database(outside, INDEX), "theirs.png")
    before = Database(outside, INDEX).path.read_bytes()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside / link)
    with pytest.raises(IndexUnavailable, match="it is a symbolic link"):
        entered(Database(root, INDEX), "fox.png")
    assert Database(outside, INDEX).path.read_bytes() == before


def test_a_file_in_the_way_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".vllm-image").write_text("mine")
    with pytest.raises(IndexUnavailable, match=r"cannot be used: .* \((EEXIST|ENOTDIR|ENOENT)\)"):
        names(Database(tmp_path, INDEX))


@pytest.mark.skipif(sys.platform == "win32", reason="other systems have other errors")
def test_a_disk_without_space_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(IndexUnavailable, match=r"No space left on device \(ENOSPC\)"):
        names(Database(tmp_path, INDEX))


@pytest.mark.parametrize("name", ["a b", "100%", "a?b#c", "ünïcode 雪", "a'b", "mode=memory&x"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    entered(Database(root, INDEX), "fox.png")
    assert (root / ".vllm-image" / "index.sqlite3").is_file()
    assert names(Database(root, INDEX)) == ["fox.png"]


def test_a_connection_stays_with_its_thread(tmp_path: Path) -> None:
    caught: list[Exception] = []
    with Database(tmp_path, INDEX).open() as connection:

        def use() -> None:
            try:
                connection.execute("SELECT 1")
            except sqlite3.ProgrammingError as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join(DEADLINE_SECONDS)
    assert len(caught) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite's bound on Unix")
@pytest.mark.parametrize("too_many", [0, 1, 30])
def test_a_path_that_is_too_long_for_sqlite_is_reported_with_its_length(
    tmp_path: Path, too_many: int
) -> None:
    length = 504 + too_many
    rest = length - len(os.fsencode(Database(tmp_path.resolve(), INDEX).path))
    folder = tmp_path.resolve().joinpath(*("d" * 99 for _ in range(rest // 100 - 1)))
    database = Database(folder / ("e" * (rest % 100 + 99)), INDEX)
    assert len(os.fsencode(database.path)) == length
    if not too_many:
        entered(database, "fox.png")
        return
    with pytest.raises(
        IndexUnavailable, match=f"its path has {length} bytes; SQLite supports at most 504"
    ) as caught:
        names(database)
    assert (
        caught.value.next_step == f"Choose an output folder whose path is at least {too_many} bytes shorter."
    )


@pytest.mark.skipif(sys.platform == "win32", reason="what Unix answers")
@pytest.mark.parametrize(
    ("name", "reason"), [("n" * 300, "ENAMETOOLONG"), ("file/below", "ENOTDIR"), ("loop/below", "ELOOP")]
)
def test_existence_is_not_guessed_if_the_system_does_not_say(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert not Database(tmp_path / "gone", INDEX).exists()
    with pytest.raises(IndexUnavailable, match=rf"cannot be used: .*\({reason}\)\."):
        Database(tmp_path / name, INDEX).exists()


def test_a_read_only_file_is_reported_with_what_to_do(tmp_path: Path) -> None:
    database = Database(tmp_path, INDEX)
    entered(database, "fox.png")

    def change() -> None:
        with database.open() as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("DELETE FROM picture")

    with pytest.raises(IndexUnavailable, match="it is not writable") as caught:
        change()
    assert caught.value.next_step.startswith("Make the file and its folder writable")


def test_a_verbatim_path_of_windows_keeps_its_backslashes() -> None:
    path = PureWindowsPath("\\\\?\\D:\\my pics\\index.sqlite3")
    assert unquote(file_uri(path)) == f"file:{path}"
    assert file_uri(PureWindowsPath("D:\\my pics\\x")) == "file:///D%3A/my%20pics/x"
    assert file_uri(PureWindowsPath("\\\\nas\\share\\x")) == "file:////nas/share/x"
