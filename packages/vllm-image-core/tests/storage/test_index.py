"""The index of a folder."""

import errno
import os
import random
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage import full_text, index
from vllm_image_core.storage import sync as upkeep
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.index import Index, Page
from vllm_image_core.storage.index_tables import INDEX
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.record import Record, read_record
from vllm_image_core.storage.sync import IndexSync

DEADLINE_SECONDS = 60
Put = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []

    def counted(folder: Folder, name: str) -> Record | None:
        names.append(name)
        return read_record(folder, name)

    monkeypatch.setattr(upkeep, "read_record", counted)
    return names


def names(page: Page) -> list[str]:
    return [record.path.name for record in page.pictures]


def found(root: Path, **query: object) -> list[str]:
    return names(Index(root).find(Query(**query)))  # type: ignore[arg-type]  # by name


@pytest.fixture
def large(root: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files take too long to check before an answer; it was checked a while ago."""
    for number in range(4):
        put(root / f"{number}.png", prompt="a red fox", key="aa", created=f"2026-01-0{number + 1}")
    monkeypatch.setattr(index, "_LARGE", 2)
    monkeypatch.setattr(upkeep, "_AT_ONCE", 1)
    Index(root, clock_ns=later).find(Query())
    wait_for_threads()
    return root


class Gate(threading.Event):
    """The threads that look at all files wait until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def stop(self) -> None:
        """Wait here, in one of these threads."""
        if threading.current_thread().name.startswith("index of "):
            self.reached.set()
            assert self.wait(DEADLINE_SECONDS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, check_file = Gate(), Database.check_file

    def stop_then_check(database: Database, connection: sqlite3.Connection) -> None:
        gate.stop()
        check_file(database, connection)

    monkeypatch.setattr(Database, "check_file", stop_then_check)
    return gate


def wait_for_threads() -> None:
    """Wait until the background work is done."""
    for thread in threading.enumerate():
        if thread.name.startswith("index of "):
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()


def break_pages_of(path: Path, name: str) -> None:
    """Overwrite the first page of an index within the file."""
    with closing(sqlite3.connect(path)) as connection:
        [(page, size)] = connection.execute(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?", (name,)
        )
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(data)


class Halfway:
    """Stops the first thread that reads files after some of them, until it may continue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
        self._left = after
        self._thread: threading.Thread | None = None
        self.reached, self.may_go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(upkeep, "read_record", self._read_record)

    def _read_record(self, folder: Folder, name: str) -> Record | None:
        self._thread = self._thread or threading.current_thread()
        if threading.current_thread() is self._thread:
            self._left -= 1
            if self._left < 0:
                self.reached.set()
                assert self.may_go_on.wait(DEADLINE_SECONDS)
        return read_record(folder, name)


def no_fts(_: sqlite3.Connection) -> bool:
    """As in a Python whose SQLite was built without FTS5."""
    return False


def no_picture(_: Record) -> bool:
    """As of a file that somebody changes again and again."""
    return False


def later() -> int:
    """A clock that is an hour ahead: everything in the folder was changed long ago."""
    return int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1e9)


def test_a_missing_folder_has_no_images_and_is_not_created(tmp_path: Path) -> None:
    assert Index(tmp_path / "pictures").find(Query()) == Page(pictures=())
    assert Index(tmp_path / "pictures").with_key(ContentKey("ab")) == ()
    assert list(tmp_path.iterdir()) == []


def test_the_index_is_built_from_the_existing_files(root: Path, put: Put) -> None:
    old = put(root / "b.png", prompt="a red fox", created="2026-01-01T00:00:00Z")
    new = put(root / "a.png", prompt="a blue bird", created="2026-01-02T00:00:00Z")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(new.read_bytes())
    with Folder.existing(root) as folder:
        expected = (read_record(folder, new.name), read_record(folder, old.name))
    assert Index(root).find(Query()).pictures == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"text": "fox"}, ["3.png", "1.png"]),
        ({"text": "FOXES red"}, ["1.png"]),
        ({"text": "wint"}, []),
        ({"text": "wint*"}, ["3.png"]),
        ({"text": "füchse"}, ["2.png"]),
        ({"text": "fuchse"}, ["2.png"]),
        ({"text": "雪の中"}, ["2.png"]),
        ({"text": "🦊"}, ["2.png"]),
        ({"text": "blurry"}, []),
        ({"model": "qwen"}, ["3.png", "1.png"]),
        ({"model": "Qwen"}, []),
        ({"seed": 7}, ["2.png", "1.png"]),
        ({"seed": -1}, ["3.png"]),
        ({"seed": 7, "model": "qwen"}, ["1.png"]),
        ({"width": 16, "height": 12}, ["3.png", "2.png", "1.png"]),
        ({"width": 17}, []),
        ({"since": datetime(2026, 1, 2, tzinfo=UTC)}, ["3.png", "2.png"]),
        ({"until": datetime(2026, 1, 2, tzinfo=UTC)}, ["1.png"]),
        ({"since": datetime(2026, 1, 2, tzinfo=UTC), "until": datetime(2026, 1, 3, tzinfo=UTC)}, ["2.png"]),
        ({"batch": "batch_1"}, ["2.png", "1.png"]),
        ({"tag": "winter fox"}, ["3.png"]),
        ({"limit": 1, "offset": 1}, ["2.png"]),
        ({"offset": 3}, []),
    ],
)
@pytest.mark.parametrize("saved_here", [True, False])
def test_images_are_found_by_their_properties(
    root: Path, put: Put, query: dict[str, object], expected: list[str], *, saved_here: bool
) -> None:
    foxes = "Füchse 雪の中の狐 🦊"
    paths = [
        put(root / "1.png", prompt="a red fox", model="qwen", seed=7, batch="batch_1", created="2026-01-01"),
        put(root / "2.png", prompt=foxes, seed=7, batch="batch_1", created="2026-01-02T00:00:00Z"),
        put(root / "3.png", negative_prompt="blurry", model="qwen", seed=-1, tag="winter fox"),
    ]
    if saved_here:
        with Folder.existing(root) as folder:
            for path in paths:
                record = read_record(folder, path.name)
                assert record is not None
                Index(root).add(record)
    assert found(root, **query) == expected


def test_pages_follow_each_other_to_the_end(root: Path, put: Put) -> None:
    for number in range(5):
        put(root / f"{number}.png", created=f"2026-01-0{number + 1}")
    pages = [Index(root).find(Query(limit=2, offset=offset)) for offset in (0, 2, 4)]
    assert [names(page) for page in pages] == [["4.png", "3.png"], ["2.png", "1.png"], ["0.png"]]
    assert [page.next_offset for page in pages] == [2, 4, None]


def test_of_images_of_the_same_second_the_one_written_last_is_the_newest(root: Path, put: Put) -> None:
    for seconds, name in ((3, "a.png"), (1, "b.png"), (2, "c.png")):
        os.utime(put(root / name, created="2026-01-01"), (seconds, seconds))
    assert found(root) == ["a.png", "c.png", "b.png"]


@pytest.mark.parametrize(
    "text",
    [
        '"',
        '""" OR 1=1 --',
        "'; DROP TABLE picture; --",
        "NEAR(",
        "a AND",
        "NOT",
        "words : x",
        "{words} : x",
        "^ * ^",
        "(((((",
        "-fox",
        "fox OR",
        "\0",
        "\ud800",
        "%_\\",
        "x" * 1_000_000,
        "a " * 100_000,
        '"' * 1000,
        "*" * 1000,
        "\u202e\u200b\ufeff",
        "a*b*c*",
    ],
)
@pytest.mark.parametrize("fts", [True, False])
def test_no_search_text_is_an_error(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch, text: str, *, fts: bool
) -> None:
    if not fts:
        monkeypatch.setattr(full_text, "prepare", no_fts)
    put(root / "1.png", prompt="jjj")
    assert found(root, text=text, tag=text, model=text, batch=text) == []
    assert found(root, text=text) == []


def test_hostile_text_of_random_characters_never_raises(root: Path, put: Put) -> None:
    put(root / "1.png", prompt="a red fox")
    chance, indexed = random.Random(0), Index(root)
    signs = "\"'*^:(){}+-,.;%_\\ \t\n\0\ud800🦊雪aA0" + "".join(map(chr, range(32)))
    for _ in range(500):
        indexed.find(Query(text="".join(chance.choices(signs, k=chance.randrange(40)))))


def test_without_fts5_words_are_still_found(root: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "1.png", prompt="a red fox")
    put(root / "2.png", tag="red")
    put(root / "3.png", prompt="a blue bird")
    monkeypatch.setattr(full_text, "prepare", no_fts)
    assert sorted(found(root, text="RED")) == ["1.png", "2.png"]
    assert found(root, text="red fox") == ["1.png"]


def test_what_a_host_without_fts5_has_entered_is_found_by_one_with_it(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root / "1.png", prompt="a red fox")
    assert found(root, text="fox") == ["1.png"]
    with monkeypatch.context() as patch:
        patch.setattr(full_text, "prepare", no_fts)
        put(root / "2.png", prompt="another fox")
        (root / "1.png").unlink()
        assert found(root, text="fox") == ["2.png"]
    assert found(root, text="fox") == ["2.png"]


def test_added_removed_and_changed_files_are_noticed(root: Path, put: Put) -> None:
    put(root / "1.png", prompt="a red fox")
    put(root / "2.png", prompt="a blue bird")
    indexed = Index(root)
    assert names(indexed.find(Query(text="fox"))) == ["1.png"]
    put(root / "3.png", prompt="another fox")
    (root / "2.png").unlink()
    assert sorted(names(indexed.find(Query()))) == ["1.png", "3.png"]
    (root / "3.png").rename(root / "4.png")
    assert sorted(names(indexed.find(Query(text="fox")))) == ["1.png", "4.png"]
    put(root / "1.png", prompt="a green frog, changed in its place")
    assert names(indexed.find(Query(text="fox"))) == ["4.png"]
    assert found(root, text="frog") == ["1.png"]


def test_a_file_that_was_replaced_by_a_link_is_forgotten(root: Path, put: Put, tmp_path: Path) -> None:
    put(root / "1.png", prompt="a red fox")
    indexed = Index(root)
    assert names(indexed.find(Query())) == ["1.png"]
    (root / "1.png").rename(tmp_path / "1.png")
    (root / "1.png").symlink_to(tmp_path / "1.png")
    assert names(indexed.find(Query())) == []


def test_only_new_and_changed_files_are_read(root: Path, put: Put, reads: list[str]) -> None:
    for number in range(3):
        put(root / f"{number}.png", prompt="a red fox")
    Index(root).find(Query())
    assert sorted(reads) == ["0.png", "1.png", "2.png"]
    reads.clear()
    Index(root).find(Query())
    assert reads == []
    put(root / "3.png")
    put(root / "1.png", prompt="a blue bird, longer than before")
    Index(root).find(Query())
    assert sorted(reads) == ["1.png", "3.png"]


def test_a_folder_that_has_not_changed_is_not_even_listed(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root / "1.png")
    Index(root, clock_ns=later).find(Query())  # makes the index's own folder
    indexed = Index(root, clock_ns=later)
    indexed.find(Query())
    monkeypatch.delattr(Folder, "names")
    assert names(indexed.find(Query())) == ["1.png"]
    put(root / "2.png")
    with pytest.raises(AttributeError):
        indexed.find(Query())


def test_a_change_within_one_clock_tick_of_another_is_noticed(root: Path, put: Put) -> None:
    put(root / "1.png")
    indexed = Index(root, clock_ns=lambda: root.stat().st_mtime_ns)
    indexed.find(Query())
    before = root.stat().st_mtime_ns
    put(root / "2.png")
    os.utime(root, ns=(before, before))
    assert sorted(names(indexed.find(Query()))) == ["1.png", "2.png"]


def test_the_times_of_fat_folders_are_not_trusted(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = 1_700_000_000_010_000_000

    def unchanged(_: Folder) -> int:
        return still

    # Emulated: on Windows, the time of such a folder stays the same when a file is added.
    monkeypatch.setattr(Folder, "modified_ns", unchanged)
    put(root / "1.png")
    indexed = Index(root, clock_ns=later)
    assert names(indexed.find(Query())) == ["1.png"]
    os.utime(root, ns=(still, still))
    put(root / "2.png")
    os.utime(root, ns=(still, still))
    assert sorted(names(indexed.find(Query()))) == ["1.png", "2.png"]


def test_an_image_that_a_backup_has_open_is_read_again(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root / "1.png")
    os.utime(root / "1.png", (1, 1))

    def held(folder: Folder, name: str) -> object:
        error = PermissionError(errno.EACCES, "it is being used by another process", name)
        error.winerror = 32  # type: ignore[attr-defined]  # emulated: only Windows has it
        raise error

    indexed = Index(root, clock_ns=later)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "reading", held)
        assert names(indexed.find(Query())) == []
    assert names(indexed.find(Query())) == ["1.png"]


def test_a_file_that_is_still_being_copied_is_read_again(root: Path, put: Put) -> None:
    whole = put(root / "1.png", prompt="a red fox").read_bytes()
    (root / "1.png").write_bytes(whole[:20])
    indexed = Index(root)
    assert names(indexed.find(Query())) == []
    with (root / "1.png").open("ab") as file:
        file.write(whole[20:])
    assert names(indexed.find(Query(text="fox"))) == ["1.png"]


def test_a_file_that_is_not_an_image_is_read_only_once(root: Path, put: Put, reads: list[str]) -> None:
    (root / "1.png").write_text("no picture")
    os.utime(root / "1.png", (1, 1))
    put(root / "2.png")
    assert [found(root) for _ in range(3)] == [["2.png"]] * 3
    assert reads == ["1.png", "2.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_name_that_is_not_text_is_skipped(root: Path, put: Put) -> None:
    put(root / "1.png")
    shutil.copy(os.fsencode(root / "1.png"), os.fsencode(root) + b"/\xff.png")
    assert found(root) == ["1.png"]


def test_a_removed_index_is_rebuilt(root: Path, put: Put) -> None:
    put(root / "1.png", prompt="a red fox")
    indexed = Index(root)
    before = indexed.find(Query(text="fox"))
    shutil.rmtree(root / ".vllm-image")
    assert indexed.find(Query(text="fox")) == before


def test_a_truncated_or_corrupted_index_gives_the_same_answers(root: Path, put: Put) -> None:
    for number in range(40):
        put(root / f"{number}.png", prompt=f"a red fox number {number}", created="2026-01-01")
    expected = sorted(found(root, text="fox"))
    path = root / ".vllm-image" / "index.sqlite3"
    whole = path.read_bytes()
    chance = random.Random(0)
    for cut in (0, 1, 99, 100, 511, 512, 4095, 4096, 4097, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert sorted(found(root, text="fox")) == expected, f"cut after {cut} bytes"
    for _ in range(40):
        start = chance.randrange(len(whole))
        path.write_bytes(whole[:start] + chance.randbytes(200) + whole[start + 200 :])
        assert set(found(root, text="fox")) <= set(expected)
        assert sorted(found(root)) == expected, f"broken at {start}"


def test_a_newer_index_is_refused_and_left_alone(root: Path, put: Put) -> None:
    put(root / "1.png")
    found(root)
    with closing(sqlite3.connect(root / ".vllm-image" / "index.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (root / ".vllm-image" / "index.sqlite3").read_bytes()
    with pytest.raises(IndexUnavailable, match="its schema version is 99"):
        found(root)
    assert (root / ".vllm-image" / "index.sqlite3").read_bytes() == before


def test_images_are_found_by_their_key_newest_first(root: Path, put: Put) -> None:
    put(root / "1.png", key="aa", created="2026-01-01")
    put(root / "2.png", key="bb")
    put(root / "3.png", key="aa", created="2026-01-03")
    indexed = Index(root)
    assert [record.path.name for record in indexed.with_key(ContentKey("aa"))] == ["3.png", "1.png"]
    assert indexed.with_key(ContentKey("cc")) == ()


def test_an_image_that_was_entered_twice_is_listed_once(root: Path, put: Put) -> None:
    path = put(root / "1.png", prompt="a red fox")
    with Folder.existing(root) as folder:
        record = read_record(folder, path.name)
    assert record is not None
    indexed = Index(root)
    indexed.add(record)
    indexed.add(record)
    assert indexed.find(Query(text="fox")).pictures == (record,)


def test_many_threads_search_and_save_at_the_same_time(root: Path, put: Put) -> None:
    indexed, start = Index(root), threading.Barrier(8, timeout=DEADLINE_SECONDS)

    def work(number: int) -> int:
        start.wait()
        for step in range(10):
            path = put(root / f"{number}-{step}.png", prompt="a red fox")
            with Folder.existing(root) as folder:
                record = read_record(folder, path.name)
            assert record is not None
            indexed.add(record)
            indexed.find(Query(text="fox"))
        return number

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8), timeout=DEADLINE_SECONDS)) == list(range(8))
    page = indexed.find(Query(text="fox", limit=1000))
    assert len(page.pictures) == len(set(names(page))) == 80


def test_a_folder_that_vanishes_during_a_search_is_an_error_of_ours(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root / "1.png")

    def vanished(_: Folder) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Folder, "names", vanished)
    with pytest.raises(IndexUnavailable, match="cannot be listed: No such file or directory"):
        Index(root).find(Query())


def test_a_found_image_can_be_generated_again(root: Path, put: Put) -> None:
    put(root / "1.png", prompt="a red fox", seed=7)
    [record] = Index(root).find(Query()).pictures
    assert record.as_request() == ImageRequest(prompt="a red fox", width=16, height=12, seed=7)


def test_an_older_index_learns_which_images_are_edits(root: Path, put: Put) -> None:
    put(root / "1.png", prompt="make it night", operation="edit")
    assert names(Index(root).find(Query())) == ["1.png"]
    with sqlite3.connect(root / ".vllm-image" / "index.sqlite3") as connection:
        connection.execute("ALTER TABLE picture DROP COLUMN operation")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    [record] = Index(root).find(Query(text="night")).pictures
    assert (record.operation, record.as_request()) == ("edit", None)


def test_a_large_folder_answers_the_first_query_before_its_files_are_checked(
    large: Path, put: Put, gate: Gate
) -> None:
    put(large / "0.png", prompt="a blue bird, changed in its place")
    indexed = Index(large, clock_ns=later)
    assert names(indexed.find(Query(text="fox", limit=3))) == ["3.png", "2.png", "1.png"]
    assert len(indexed.with_key(ContentKey("aa"))) == 4
    assert names(indexed.find(Query(text="bird"))) == []
    gate.set()
    wait_for_threads()
    assert names(indexed.find(Query(text="bird"))) == ["0.png"]


def test_files_added_to_or_removed_from_a_large_folder_are_in_its_first_answer(
    large: Path, put: Put, gate: Gate
) -> None:
    put(large / "9.png", prompt="a red fox", key="aa", created="2026-02-01")
    (large / "3.png").unlink()
    (large / "1.png").rename(large / "8.png")
    indexed = Index(large, clock_ns=later)
    assert names(indexed.find(Query(text="fox"))) == ["9.png", "2.png", "8.png", "0.png"]
    assert len(Index(large).with_key(ContentKey("aa"))) == 4
    gate.set()
    wait_for_threads()


def test_a_large_folder_never_gives_a_wrong_answer(large: Path, put: Put, gate: Gate) -> None:
    put(large / "3.png", prompt="a blue bird, changed in its place")
    put(large / "2.png", prompt="a blue bird, changed in its place")
    indexed = Index(large, clock_ns=later)
    assert names(indexed.find(Query(text="fox", limit=1))) == ["1.png"]
    assert names(indexed.find(Query(text="fox"))) == ["1.png", "0.png"]
    gate.set()
    wait_for_threads()


def test_a_file_that_keeps_changing_is_reported_in_the_end(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_is_there", no_picture)
    assert len(Index(large).find(Query()).pictures) == 4
    wait_for_threads()


def test_damage_outside_the_answers_is_found_and_repaired_in_the_background(large: Path) -> None:
    path = large / ".vllm-image" / "index.sqlite3"
    break_pages_of(path, "picture_seed")
    indexed = Index(large)
    expected = ["3.png", "2.png", "1.png", "0.png"]
    assert names(indexed.find(Query())) == expected
    wait_for_threads()
    assert (path.parent / "index.damaged-1.sqlite3").exists()
    assert names(indexed.find(Query())) == expected
    assert indexed.find(Query(seed=7)) == Page(pictures=())


def test_a_missing_row_is_detected_in_the_background(large: Path) -> None:
    with closing(sqlite3.connect(large / ".vllm-image" / "index.sqlite3")) as connection, connection:
        connection.execute("DELETE FROM picture WHERE name = '2.png'")
    indexed = Index(large, clock_ns=later)
    assert names(indexed.find(Query())) == ["3.png", "1.png", "0.png"]
    wait_for_threads()
    assert names(indexed.find(Query())) == ["3.png", "2.png", "1.png", "0.png"]


def test_a_query_waits_while_another_thread_rebuilds_the_index(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_pages_of(large / ".vllm-image" / "index.sqlite3", "picture_seed")
    halfway, indexed = Halfway(monkeypatch, after=2), Index(large, clock_ns=later)
    assert len(indexed.find(Query()).pictures) == 4  # finds the damage, and starts a repair
    assert halfway.reached.wait(DEADLINE_SECONDS)
    is_complete = IndexSync.is_complete

    def seen_half_made(upkeep: IndexSync, connection: sqlite3.Connection) -> bool:
        halfway.may_go_on.set()
        return is_complete(upkeep, connection)

    monkeypatch.setattr(IndexSync, "is_complete", seen_half_made)
    with ThreadPoolExecutor(2) as threads:
        page = threads.submit(indexed.find, Query())
        keyed = threads.submit(indexed.with_key, ContentKey("aa"))
        assert len(page.result(DEADLINE_SECONDS).pictures) == 4
        assert len(keyed.result(DEADLINE_SECONDS)) == 4
    wait_for_threads()


def test_a_query_does_not_trust_an_index_that_another_process_is_building(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (large / ".vllm-image" / "index.sqlite3").unlink()
    halfway = Halfway(monkeypatch, after=2)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(Index(large).find, Query())
        assert halfway.reached.wait(DEADLINE_SECONDS)
        assert len(Index(large).find(Query()).pictures) == 4
        assert len(Index(large).with_key(ContentKey("aa"))) == 4
        halfway.may_go_on.set()
        assert len(other.result(DEADLINE_SECONDS).pictures) == 4
    wait_for_threads()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames no open file")
def test_an_index_set_aside_during_a_query_does_not_change_the_answer(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, is_current = large / ".vllm-image" / "index.sqlite3", IndexSync.is_current

    def put_aside_then(upkeep: IndexSync, connection: sqlite3.Connection) -> bool:
        if not path.with_name("aside").exists():
            path.rename(path.with_name("aside"))
            with Database(large, INDEX).open():
                pass  # another process has begun to make a new one
        return is_current(upkeep, connection)

    monkeypatch.setattr(IndexSync, "is_current", put_aside_then)
    indexed = Index(large)
    assert len(indexed.find(Query()).pictures) == 4
    wait_for_threads()
    assert len(indexed.find(Query()).pictures) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_large_folder_that_was_removed_after_the_answer_is_not_created_again(
    large: Path, gate: Gate
) -> None:
    indexed = Index(large)
    assert len(indexed.find(Query()).pictures) == 4
    assert gate.reached.wait(DEADLINE_SECONDS)
    shutil.rmtree(large)
    gate.set()
    wait_for_threads()
    assert indexed.find(Query()) == Page(pictures=())
    assert not large.exists()


def test_an_index_that_becomes_unreadable_is_no_error_of_the_thread(
    large: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed = Index(large)
    assert len(indexed.find(Query()).pictures) == 4
    assert gate.reached.wait(DEADLINE_SECONDS)

    def vanished(_: Folder) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "names", vanished)
        gate.set()
        wait_for_threads()
    assert len(indexed.find(Query()).pictures) == 4
    wait_for_threads()


def test_a_file_that_grows_during_the_check_is_read_when_it_is_complete(large: Path) -> None:
    indexed = Index(large, clock_ns=later)
    indexed.follow()
    whole = (large / "3.png").read_bytes()
    with (large / "3.png").open("r+b") as file:
        file.truncate(20)
    now = datetime.now(UTC).timestamp()
    os.utime(large / "3.png", (now + 3600, now + 3600))
    assert names(indexed.find(Query())) == ["2.png", "1.png", "0.png"]
    with (large / "3.png").open("r+b") as file:
        file.write(whole)
    assert names(indexed.find(Query())) == ["3.png", "2.png", "1.png", "0.png"]


def test_a_folder_of_which_many_files_were_read_is_not_listed_again(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(root / f"{number}.png")
    now = [root.stat().st_mtime_ns]

    def reading_takes_a_minute(folder: Folder, name: str) -> Record | None:
        now[0] = root.stat().st_mtime_ns + 60 * 10**9
        return read_record(folder, name)

    monkeypatch.setattr(upkeep, "read_record", reading_takes_a_minute)
    monkeypatch.setattr(upkeep, "_LOOKED_AT_ONCE", 2)
    (root / ".vllm-image").mkdir()
    indexed = Index(root, clock_ns=lambda: now[0])
    assert len(indexed.find(Query()).pictures) == 3
    monkeypatch.delattr(Folder, "names")
    assert len(indexed.find(Query()).pictures) == 3


@pytest.mark.parametrize("b_tree", ["picture_key", "picture_created"])
@pytest.mark.parametrize("most", [0, 100])
def test_an_index_whose_b_trees_disagree_is_rebuilt(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch, b_tree: str, most: int
) -> None:
    monkeypatch.setattr(index, "_LARGE", most)
    for number in range(4):
        put(root / f"{number}.png")
    assert len(found(root)) == 4
    wait_for_threads()
    path = root / ".vllm-image" / "index.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        [number] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (b_tree,)
        ).fetchone()
    content = bytearray(path.read_bytes())
    empty_leaf = bytes([10, 0, 0, 0, 0, 16, 0, 0]) + bytes(4088)
    content[(number - 1) * 4096 : number * 4096] = empty_leaf
    path.write_bytes(content)
    indexed = Index(root)
    indexed.find(Query())
    wait_for_threads()
    assert (path.parent / "index.damaged-1.sqlite3").exists()
    assert len(names(indexed.find(Query()))) == 4


@pytest.mark.parametrize(
    "damage", ["created = 'today'", "seed = 'seven'", "prompt = CAST(x'ff41' AS TEXT)", "name = '../x.png'"]
)
def test_a_row_with_impossible_values_rebuilds_the_index(root: Path, put: Put, damage: str) -> None:
    put(root / "0.png")
    assert found(root) == ["0.png"]
    with closing(sqlite3.connect(root / ".vllm-image" / "index.sqlite3")) as connection, connection:
        connection.execute(f"UPDATE picture SET {damage}")  # noqa: S608 - the test's own words
    assert found(root) == ["0.png"]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there every name is text")
def test_files_whose_names_are_not_text_are_counted_in_a_note(root: Path, put: Put) -> None:
    assert Index(root).find(Query()).notes == ()
    odd = [os.fsencode(root) + b"/caf\xe9%d.png" % number for number in range(2)]
    Path(os.fsdecode(odd[0])).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt")).write_bytes(b"")
    page = Index(root).find(Query())
    assert (names(page), page.unnamed) == ([], 1)
    assert page.notes[0].startswith("1 image file is not listed because its name is not valid UTF-8.")
    put(root / "fox.png", prompt="a red fox")
    Path(os.fsdecode(odd[1])).write_bytes(b"")
    page = Index(root).find(Query())
    assert (names(page), page.unnamed) == (["fox.png"], 2)
    assert page.notes[0].startswith("2 image files are not listed")
    for file in odd:
        Path(os.fsdecode(file)).unlink()
    assert Index(root).find(Query()).notes == ()


def test_images_that_wait_to_be_entered_together_are_found_by_everyone(root: Path, put: Put) -> None:
    index = Index(root, group_seconds=60.0)
    for name in ("a.png", "b.png", "c.png"):
        put(root / name)
        with Folder.existing(root) as folder:
            entry = read_record(folder, name)
        assert entry is not None
        index.add(entry, now=False)
    assert sorted(found(root)) == ["a.png", "b.png", "c.png"]
    assert sorted(names(index.find(Query()))) == ["a.png", "b.png", "c.png"]
    assert sorted(found(root)) == ["a.png", "b.png", "c.png"]


def test_a_reused_name_has_its_latest_image_at_once(
    root: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    index = Index(root, group_seconds=60.0)
    for name, prompt in (("a.png", "a fox"), ("hero.png", "a fox"), ("hero.png", "a crow")):
        put(root / name, prompt=prompt)
        with Folder.existing(root) as folder:
            entry = read_record(folder, name)
        assert entry is not None
        index.add(entry, now=False)
    assert {each.path.name: each.prompt for each in index.find(Query()).pictures} == {
        "a.png": "a fox",
        "hero.png": "a crow",
    }
    assert not caplog.messages


def test_a_folder_with_many_new_files_says_how_many_it_has_read(root: Path, put: Put) -> None:
    put(root / "0.png")
    for number in range(1, 1_200):
        os.link(root / "0.png", root / f"{number}.png")
    told: list[tuple[int, int]] = []
    indexed = Index(root)
    indexed.find(Query(), on_progress=lambda done, total: told.append((done, total)))
    indexed.find(Query(), on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1_000, 1_200), (1_200, 1_200)]


def test_a_few_new_files_are_read_without_progress(root: Path, put: Put) -> None:
    put(root / "fox.png")
    told: list[tuple[int, int]] = []
    Index(root).find(Query(), on_progress=lambda done, total: told.append((done, total)))
    assert told == []
