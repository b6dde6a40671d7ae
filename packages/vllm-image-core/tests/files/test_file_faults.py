"""The faults of files, by their ids: what goes wrong on disks, and what must hold all the same."""

import asyncio
import errno
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from vllm_image_core.errors import CannotSave, InvalidRequest, NotEnoughSpace, PictureNotSaved
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.storage.filename import MAX_BYTES, check_filename, fold_name
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.store import Store

NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
PROMPT = "a red fox"
DEADLINE_SECONDS = 60

posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX system's links, limits and signals")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own files and signals")

SAVES = """
import itertools, json, sys
from datetime import UTC, datetime
from pathlib import Path
from vllm_image_core.storage.library import Library
from vllm_image_core.imaging.picture import Picture, write_text
root, sample = Path(sys.argv[1]), Path(sys.argv[2])
library, plain = Library(root), Picture.check(sample.read_bytes())
noon = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
for number in itertools.count():
    facts = {"prompt": "a red fox", "seed": number, "created": noon.isoformat()}
    picture = write_text(plain, {"vllm-image": json.dumps(facts)})
    print(library.save(picture, facts, prompt="a red fox", now=noon).path.name, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "pictures")


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    if subprocess.run(mount, check=False, capture_output=True, timeout=DEADLINE_SECONDS).returncode:
        pytest.skip("this root may not mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=DEADLINE_SECONDS)  # noqa: S607 - the system's own


def noise(side: int) -> Picture:
    """A picture that cannot be packed: three bytes a pixel."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG")
    return Picture.check(file.getvalue())


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform.startswith("linux") else 0  # noqa: PTH208 - counted


def hostile_names(count: int) -> list[str]:
    """Names that lead elsewhere, are taken for others, or break something; no two are the same."""
    chance = random.Random(4)
    parts = [
        *(
            "..",
            ".",
            "/",
            "\\",
            "//",
            "C:",
            "\\\\srv\\share",
            "\\\\?\\",
            "/etc/passwd",
            "~",
            "~root",
            "-rf",
            ":",
        ),
        *(
            "\0",
            "\n",
            "\r",
            "\t",
            "\x1b[31m",
            "\x7f",
            "\u202e",
            "\u200b",
            "\ufeff",
            "\u2028",
            "\ud800",
            "\udfff",
        ),
        *(
            "\uff0e\uff0e",
            "\uff0f",
            "\uff3c",
            "\uff1a",
            "\u2024\u2024",
            "\u2215",
            "%2e%2e%2f",
            "..%c0%af",
            "$HOME",
        ),
        *(
            "CON",
            "nul",
            "COM1",
            "com\u00b9",
            "LPT9",
            "AUX",
            "prn",
            "CONIN$",
            ".png",
            ".PNG",
            ".exe",
            "::$DATA",
        ),
        *(" ", ".", "*", "?", '"', "<", ">", "|", "`id`", "$(id)", ";", "&", "'", "fox", "Fox", "x" * 119),
        *("x" * 300, "\u00e9" * 80, "e\u0301", "\ufdfa", "\U0001f98a", "\u0130", "\u00df", "index.sqlite3"),
        *(".vllm-image", ".vllm-image/index.sqlite3", ".img_0.tmp", "img_20260218_143022_b9c4c4"),
    ]
    names = dict.fromkeys(parts)
    while len(names) < count:
        names["".join(chance.choices(parts, k=chance.randrange(1, 5)))] = None
    return list(names)[:count]


def test_f01_the_same_prompt_in_the_same_second_400_times_is_400_files(
    store: Store, small_picture: Picture
) -> None:
    def save(_: int) -> str:
        return store.save(small_picture, prompt=PROMPT, now=NOON).name

    with ThreadPoolExecutor(16) as threads:
        names = set(threads.map(save, range(400), timeout=DEADLINE_SECONDS))
    assert len(names) == 400
    assert set(contents(store.root)) == names


def test_f02_two_processes_on_one_folder_lose_nothing_and_agree_on_the_index(
    tmp_path: Path, small_picture: Picture
) -> None:
    root, sample = tmp_path / "shared", tmp_path / "sample.png"
    sample.write_bytes(small_picture.bytes)
    command = [sys.executable, "-c", SAVES, str(root), str(sample)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told: list[str] = []
    try:
        for child in children:
            assert child.stdout is not None
            told += [child.stdout.readline().strip() for _ in range(30)]
    finally:
        for child in children:
            child.kill()
            child.communicate(timeout=DEADLINE_SECONDS)
    assert len(set(told)) == 60
    found = {record.path.name for record in Library(root).find(Query(limit=1000)).pictures}
    assert set(told) <= found
    assert found == {name for name in contents(root) if not name.startswith(".")}


@pytest.mark.parametrize(
    "filename", ["../x", "/etc/x", "C:\\x", "C:x", "\\\\srv\\s", "x\0.png", "a/../../b", "..", "x/"]
)
def test_f03_a_name_that_leads_elsewhere_is_refused(
    store: Store, small_picture: Picture, tmp_path: Path, filename: str
) -> None:
    with pytest.raises(InvalidRequest):
        store.save(small_picture, prompt=PROMPT, now=NOON, filename=filename)
    assert contents(tmp_path) == []


def test_f03_of_500_hostile_names_none_leads_out_of_the_folder(
    small_picture: Picture, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "fox.png").write_text("theirs")
    store = Store(tmp_path / "pictures")
    store.root.mkdir()
    names = hostile_names(500)
    assert len(set(names)) == 500
    saved: list[Path] = []
    for name in names:
        try:
            saved.append(store.save(small_picture, prompt=PROMPT, now=NOON, filename=name))
        except InvalidRequest as error:
            assert error.message.isprintable()  # noqa: PT017 - both ends are right
    assert 0 < len(saved) < 500
    assert files_below(tmp_path) == {"outside/fox.png", *(f"pictures/{path.name}" for path in saved)}
    assert all(path.parent == store.root and path.read_bytes() == small_picture.bytes for path in saved)
    assert (outside / "fox.png").read_text() == "theirs"


@pytest.mark.parametrize(
    "filename",
    ["CON", "nul.png", "COM1", "com\u00b9.txt", "x.", "x ", "x:ads", "-x", "~x", "CONOUT$", "aux.tar.gz"],
)
def test_f04_a_name_that_some_system_reserves_is_refused_on_all(filename: str) -> None:
    with pytest.raises(InvalidRequest):
        check_filename(filename)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("fox", "Fox", "Fox_2.png"),
        ("F\u00fcchse", "fu\u0308chse", "f\u00fcchse_2.png"),
        ("stra\u00dfe", "STRASSE", "STRASSE_2.png"),
        ("fox", "\uff26\uff2f\uff38", "FOX_2.png"),
        ("fox_2", "FOX_2", "FOX_2_2.png"),
    ],
)
def test_f05_twins_get_a_number_on_every_file_system(
    store: Store, small_picture: Picture, first: str, second: str, expected: str
) -> None:
    store.save(small_picture, prompt=PROMPT, now=NOON, filename=first)
    assert store.save(small_picture, prompt=PROMPT, now=NOON, filename=second).name == expected
    assert len({fold_name(name) for name in contents(store.root)}) == 2


def test_f05_a_twin_that_another_program_wrote_decomposed_is_seen(
    store: Store, small_picture: Picture
) -> None:
    store.root.mkdir()
    (store.root / unicodedata.normalize("NFD", "F\u00fcchse.PNG")).write_text("theirs")
    name = store.save(small_picture, prompt=PROMPT, now=NOON, filename="f\u00fcchse").name
    assert name == "f\u00fcchse_2.png"


def test_f05_no_automatic_name_has_a_twin(store: Store, small_picture: Picture) -> None:
    automatic = store.save(small_picture, prompt=PROMPT, now=NOON)
    given = store.save(small_picture, prompt=PROMPT, now=NOON, filename=automatic.stem.upper())
    assert given.name == f"{automatic.stem}_2.png"
    assert store.save(small_picture, prompt=PROMPT, now=NOON).name == f"{automatic.stem}_3.png"


def test_f05_twins_written_at_the_same_moment_are_told_apart(small_picture: Picture, tmp_path: Path) -> None:
    stores = [Store(tmp_path / "pictures") for _ in range(4)]  # as four processes have them

    def save(number: int) -> str:
        name = ("fox", "Fox", "FOX", "foX")[number % 4]
        return stores[number % 4].save(small_picture, prompt=PROMPT, now=NOON, filename=name).name

    with ThreadPoolExecutor(4) as threads:
        names = list(threads.map(save, range(80), timeout=DEADLINE_SECONDS))
    assert sorted(names) == contents(tmp_path / "pictures")
    assert len({fold_name(name) for name in names}) == 80


def test_f05_wide_dots_and_slashes_are_plain_ones() -> None:
    for name in ("\uff0e\uff0e\uff0fx", "a\uff0fb", "\uff0e\uff0e", "C\uff1ax"):
        with pytest.raises(InvalidRequest):
            check_filename(name)


def test_f06_a_long_name_is_refused_with_the_limit_and_a_long_path_with_its_reason(
    small_picture: Picture, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="has 300 characters"):
        Store(tmp_path).save(small_picture, prompt=PROMPT, now=NOON, filename="x" * 300)
    longest = Store(tmp_path).save(small_picture, prompt=PROMPT, now=NOON, filename="\u00e9" * 60)
    assert len(longest.name.encode()) == MAX_BYTES + len(".png")
    deep = tmp_path.joinpath(*["x" * 200] * 30)
    with pytest.raises(CannotSave) as caught:
        Library(deep).check_writable(pixels=1)
    assert len(caught.value.message) < 500


@posix
def test_f07_links_swapped_in_at_any_moment_lead_nowhere(small_picture: Picture, tmp_path: Path) -> None:
    root, outside = tmp_path / "pictures", tmp_path / "outside"
    outside.mkdir()
    library = Library(root)
    chance = random.Random(7)
    link = Folder.place

    def attacked(folder: Folder, temporary: str, name: str) -> bool:
        if chance.random() < 0.5:
            (root / name).symlink_to(outside / name)
        placed = link(folder, temporary, name)
        if chance.random() < 0.5:
            (root / name).unlink()
            (root / name).symlink_to(outside / name)
        return placed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "place", attacked)
        for number in range(100):
            library.save(small_picture, {}, prompt=PROMPT, now=NOON, filename=f"fox{number % 7}")
    assert contents(outside) == []
    assert all(not record.path.is_symlink() for record in library.find(Query(limit=1000)).pictures)


@posix
def test_f07_a_folder_of_the_index_that_is_a_link_is_not_followed(
    small_picture: Picture, tmp_path: Path
) -> None:
    root, outside = tmp_path / "pictures", tmp_path / "outside"
    outside.mkdir()
    root.mkdir()
    (root / ".vllm-image").symlink_to(outside)
    saved = Library(root).save(small_picture, {}, prompt=PROMPT, now=NOON)
    assert saved.path.read_bytes() == small_picture.bytes
    assert "it is a symbolic link" in saved.notes[0]
    assert contents(outside) == []


@linux
def test_f08_a_folder_that_cannot_be_written_is_found_before_anything_is_sent() -> None:
    with pytest.raises(CannotSave, match="Cannot save images in /proc/pictures"):
        Library(Path("/proc/pictures")).check_writable(pixels=1)


def test_f08_a_read_only_disk_is_found_before_anything_is_sent(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, timeout=DEADLINE_SECONDS)
    with pytest.raises(CannotSave, match="EROFS") as caught:
        Library(small_disk).check_writable(pixels=1)
    assert "read-only" in caught.value.next_step


def test_f09_a_folder_that_was_removed_is_made_again_with_its_index(
    small_picture: Picture, tmp_path: Path
) -> None:
    library = Library(tmp_path / "pictures")
    library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    shutil.rmtree(tmp_path / "pictures")
    saved = library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    assert [record.path for record in library.find(Query()).pictures] == [saved.path]


def test_f09_a_disk_that_was_unplugged_costs_no_picture(small_picture: Picture, tmp_path: Path) -> None:
    library = Library(tmp_path / "disk" / "pictures", spill_dir=tmp_path / "spill")
    library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").write_text("an empty mount point that takes no folders")
    saved = library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    assert (saved.spilled, saved.path.read_bytes()) == (True, small_picture.bytes)


def test_f10_a_disk_that_fills_up_has_whole_files_only_and_no_picture_is_lost(
    small_disk: Path, tmp_path: Path
) -> None:
    library = Library(small_disk, spill_dir=tmp_path / "spill")
    pictures = [noise(160) for _ in range(20)]
    saved = [library.save(picture, {}, prompt=PROMPT, now=NOON) for picture in pictures]
    assert [one.path.read_bytes() for one in saved] == [picture.bytes for picture in pictures]
    kept = [one for one in saved if not one.spilled]
    assert 0 < len(kept) < 20
    assert {one.path.name for one in kept} == {n for n in contents(small_disk) if not n.startswith(".")}
    assert "No space left on device" in saved[-1].notes[0]
    with pytest.raises(NotEnoughSpace):
        library.check_writable(pixels=1_000_000)


def test_f10_when_space_is_free_again_pictures_go_to_the_folder_again(
    small_disk: Path, tmp_path: Path
) -> None:
    library = Library(small_disk, spill_dir=tmp_path / "spill")
    (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    picture = noise(160)
    assert library.save(picture, {}, prompt=PROMPT, now=NOON).spilled
    (small_disk / "ballast").unlink()
    saved = library.save(picture, {}, prompt=PROMPT, now=NOON)
    assert not saved.spilled
    assert [record.path for record in library.find(Query()).pictures] == [saved.path]


def test_f10_a_disk_with_room_for_the_picture_but_not_for_the_index_keeps_the_picture(
    small_disk: Path,
) -> None:
    library, picture = Library(small_disk), noise(100)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(b"x" * (free - len(picture.bytes) - 8192))
    saved = library.save(picture, {"prompt": PROMPT}, prompt=PROMPT, now=NOON)
    assert saved.path.read_bytes() == picture.bytes
    assert (saved.spilled, "not in the index" in saved.notes[0]) == (False, True)
    (small_disk / "ballast").unlink()
    assert [record.path for record in library.find(Query()).pictures] == [saved.path]


@posix
@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT, errno.EMFILE, errno.ENAMETOOLONG, errno.EROFS])
@pytest.mark.parametrize("step", ["open", "write", "fsync", "link"])
def test_f11_every_error_of_the_system_is_told_and_leaks_nothing(
    store: Store, small_picture: Picture, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store.root.mkdir()
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(PictureNotSaved, match=errno.errorcode[code]) as caught:
            store.save(small_picture, prompt=PROMPT, now=NOON)
    assert caught.value.picture == small_picture
    assert (open_files(), contents(store.root)) == (before, [])


@posix
def test_f12_killed_at_any_moment_there_is_no_half_file_and_the_index_agrees(tmp_path: Path) -> None:
    root, sample = tmp_path / "killed", tmp_path / "sample.png"
    sample.write_bytes(noise(128).bytes)
    chance = random.Random(12)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVES, str(root), str(sample)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        told = [child.stdout.readline().strip()]
        deadline = time.monotonic() + chance.uniform(0, 0.1)
        while time.monotonic() < deadline:
            told.append(child.stdout.readline().strip())
        child.kill()
        rest, _ = child.communicate(timeout=DEADLINE_SECONDS)
        visible = {path.name for path in root.iterdir() if not path.name.startswith(".")}
        assert {*told, *rest.split()} <= visible
        assert {Picture.check((root / name).read_bytes()).width for name in visible} == {128}
        assert {record.path.name for record in Library(root).find(Query(limit=1000)).pictures} == visible


def test_f12_temporary_files_of_dead_writers_are_swept_at_the_start(store: Store) -> None:
    store.root.mkdir()
    (store.root / ".img_dead.tmp").write_bytes(b"half a picture")
    yesterday = time.time() - 90_000
    os.utime(store.root / ".img_dead.tmp", (yesterday, yesterday))
    store.check_writable()
    assert contents(store.root) == []


@posix
def test_f13_a_picture_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_is_told(
    small_picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("write", "fsync", "link"):
        real = getattr(os, name)

        def logged(*arguments: object, _name: str = name, _real: object = real, **options: object) -> object:
            steps.append(_name)
            return _real(*arguments, **options)  # type: ignore[operator]  # a function of os

        monkeypatch.setattr(os, name, logged)
    Store(tmp_path).save(small_picture, prompt=PROMPT, now=NOON)
    assert steps == ["write", "fsync", "link", "fsync"]


def test_f13_an_entry_whose_file_was_lost_with_the_power_is_not_believed(
    small_picture: Picture, tmp_path: Path
) -> None:
    library = Library(tmp_path)
    facts = {"prompt": PROMPT, "key": "ab"}
    saved = [library.save(small_picture, facts, prompt=PROMPT, now=NOON) for _ in range(2)]
    saved[0].path.unlink()
    saved[1].path.write_bytes(b"\0" * len(small_picture.bytes))  # what a file system may leave
    assert library.find(Query()).pictures == ()
    assert Library(tmp_path).find(Query(text="fox")).pictures == ()


def test_f14_an_index_that_is_missing_or_out_of_step_is_made_from_the_files(
    small_picture: Picture, tmp_path: Path
) -> None:
    for number in range(5):
        facts = {"prompt": f"a red fox {number}", "seed": number}
        picture = write_text(small_picture, {"vllm-image": json.dumps(facts)})
        Library(tmp_path).save(picture, facts, prompt=PROMPT, now=NOON)
    before = Library(tmp_path).find(Query(text="fox"))
    kept = (tmp_path / ".vllm-image" / "index.sqlite3").read_bytes()
    assert len(before.pictures) == 5

    shutil.rmtree(tmp_path / ".vllm-image")
    assert Library(tmp_path).find(Query(text="fox")) == before

    before.pictures[0].path.unlink()
    Store(tmp_path).save(small_picture, prompt="another", now=NOON)
    (tmp_path / ".vllm-image" / "index.sqlite3").write_bytes(kept)  # as after a restored backup
    found = {record.path.name for record in Library(tmp_path).find(Query()).pictures}
    assert found == {name for name in contents(tmp_path) if not name.startswith(".")}


async def test_f15_a_run_that_the_disk_has_no_room_for_is_refused_unless_overridden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=2_400_000)  # 1.2 times what a megapixel needs

    monkeypatch.setattr(shutil, "disk_usage", usage)
    await asyncio.to_thread(Library(tmp_path).check_writable, pixels=1_000_000)
    with pytest.raises(NotEnoughSpace) as caught:
        Library(tmp_path).check_writable(pixels=1_000_001)
    assert (caught.value.free_bytes, caught.value.needed_bytes) == (2_400_000, 2_400_002)
    Library(tmp_path, check_space=False).check_writable(pixels=1_000_001)
