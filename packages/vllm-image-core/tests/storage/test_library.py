"""The library: images are saved, indexed, found again, and never lost."""

import asyncio
import errno
import io
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from vllm_image_core.errors import CannotSave, InvalidRequest, NotEnoughSpace, PictureNotSaved
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.storage.filename import MAX_BYTES
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.library import Existing, Library, Saved
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.store import Store
from vllm_omni_client._imaging import held_files

NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
KEY = ContentKey("ab" * 32)
FACTS = {"prompt": "a red fox", "seed": 42, "key": KEY, "created": NOON.isoformat()}


@pytest.fixture
def picture(small_picture: Picture) -> Picture:
    """An image that tells its facts."""
    return write_text(small_picture, {"vllm-image": json.dumps(FACTS)})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "pictures", spill_dir=tmp_path / "spill")


def save(library: Library, picture: Picture, **facts: object) -> Saved:
    return library.save(picture, {**FACTS, **facts}, prompt="a red fox", now=NOON, filename="fox")


def found(library: Library) -> list[str]:
    return [record.path.name for record in library.search.find(Query()).pictures]


def block(folder: Path) -> None:
    """Put a file in the way of a folder, like a disk that was unplugged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")


PROMPT = "a red fox"
DEADLINE_SECONDS = 60
posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's links, limits and signals")
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
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    if subprocess.run(mount, check=False, capture_output=True, timeout=DEADLINE_SECONDS).returncode:
        pytest.skip("this root may not mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=DEADLINE_SECONDS)  # noqa: S607 - the system's own


def noise(side: int) -> Picture:
    """An image that cannot be compressed: three bytes a pixel."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG")
    return Picture.check(file.getvalue())


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_saved_image_is_found_by_the_facts_in_its_file(library: Library, picture: Picture) -> None:
    saved = save(library, picture)
    assert saved == Saved(path=library.root / "fox.png")
    [entered] = library.search.find(Query(text="fox")).pictures
    shutil.rmtree(library.root / ".vllm-image")
    assert Library(library.root).search.find(Query(text="fox")).pictures == (entered,)


def test_an_image_that_exists_completely_is_reused(library: Library, picture: Picture) -> None:
    save(library, picture)
    [record] = library.search.find(Query()).pictures
    assert library.existing(KEY) == Existing(picture=picture, record=record)
    assert library.existing(ContentKey("cd" * 32)) is None


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped", "another", "link", "emptied"])
def test_an_incomplete_image_is_not_reused(
    library: Library, picture: Picture, small_picture: Picture, tmp_path: Path, damage: str
) -> None:
    path = save(library, picture).path
    assert library.existing(KEY) is not None
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "flipped":
        path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
    elif damage == "another":
        path.write_bytes(write_text(small_picture, {"vllm-image": '{"key": "cd"}'}).bytes)
    elif damage == "link":
        (tmp_path / "outside.png").write_bytes(data)
        path.symlink_to(tmp_path / "outside.png")
    elif damage == "emptied":
        path.write_bytes(b"")
    assert library.existing(KEY) is None


def test_of_several_images_the_newest_complete_one_is_reused(library: Library, picture: Picture) -> None:
    paths = [save(library, picture, created=f"2026-02-1{day}").path for day in range(3)]
    paths[2].write_bytes(b"damaged")
    existing = library.existing(KEY)
    assert existing is not None
    assert existing.record.path == paths[1]


def test_an_image_without_facts_is_reused_while_its_file_is_unchanged(
    library: Library, small_picture: Picture
) -> None:
    path = save(library, small_picture).path
    assert library.existing(KEY) is not None
    path.write_bytes(small_picture.bytes[:-12] + b"\0\0\0\0tEXt\xb0\xa6\xb6\xc1" + small_picture.bytes[-12:])
    assert library.existing(KEY) is None


def test_an_image_that_cannot_be_written_goes_to_the_spill_folder_and_is_reported(
    library: Library, picture: Picture, tmp_path: Path
) -> None:
    block(library.root)
    saved = save(library, picture)
    assert saved.path == tmp_path / "spill" / "fox.png"
    assert saved.path.read_bytes() == picture.bytes
    assert saved.spilled
    [note] = saved.notes
    assert note.startswith(f"The image was saved to {saved.path} instead of the output folder. Cannot save ")


@pytest.mark.parametrize("beside", [True, False])
def test_the_default_spill_folder_is_new_and_private_and_next_to_the_output_folder_if_possible(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    library = Library(tmp_path / "made" / "pictures")
    save(library, picture)
    block(library.root)
    if not beside:
        library.root.parent.rename(tmp_path / "moved")
        (tmp_path / "made").write_text("in the way")
    paths = [save(library, picture).path for _ in range(2)]
    assert paths[0].parent == paths[1].parent
    assert paths[0].parent.name.startswith("pictures-spill-" if beside else "vllm-image-spill-")
    assert paths[0].parent.parent == tmp_path / ("made" if beside else "temporary")
    assert list((tmp_path / "temporary").iterdir()) == ([] if beside else [paths[0].parent])
    if sys.platform != "win32":
        assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700


def test_if_each_new_file_is_held_for_long_an_image_is_written_directly_into_the_spill_folder(
    library: Library, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    # Emulated: another program has each new file open, on a volume without hard links.
    monkeypatch.setattr(held_files, "RETRY_SECONDS", 0)
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr("vllm_image_core.storage.folder.rename_if_free", held)
    for name in ("rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, held)
    saved = [save(library, picture) for _ in range(2)]
    assert [one.path for one in saved] == [tmp_path / "spill" / name for name in ("fox.png", "fox_2.png")]
    assert [one.path.read_bytes() for one in saved] == [picture.bytes] * 2
    assert "another program has the file open" in saved[0].notes[0]


def test_if_the_spill_folder_fails_too_the_error_has_the_image(
    library: Library, picture: Picture, tmp_path: Path
) -> None:
    block(library.root)
    block(tmp_path / "spill")
    with pytest.raises(PictureNotSaved) as caught:
        save(library, picture)
    assert caught.value.picture == picture
    assert str(library.root) in caught.value.message
    assert str(tmp_path / "spill") in caught.value.message
    assert "in the `picture` attribute" in caught.value.next_step


def test_without_a_temporary_folder_the_error_has_the_image(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    (tmp_path / "made").write_text("in the way")
    library = Library(tmp_path / "made" / "pictures")
    with pytest.raises(PictureNotSaved) as caught:
        save(library, picture)
    assert caught.value.picture == picture


def test_an_index_that_cannot_be_written_is_reported_and_the_image_is_saved(
    library: Library, picture: Picture
) -> None:
    save(library, picture)
    with closing(sqlite3.connect(library.root / ".vllm-image" / "index.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    saved = save(library, picture)
    assert saved.path.read_bytes() == picture.bytes
    [note] = saved.notes
    assert note.startswith("The image is saved, but is not in the index. The index ")
    assert library.existing(KEY) is None


def test_images_saved_while_the_index_was_lost_are_found_by_the_next_search(
    library: Library, picture: Picture
) -> None:
    Store(library.root).save(picture, prompt="a red fox", now=NOON, filename="before")
    save(library, picture)
    shutil.rmtree(library.root / ".vllm-image")
    save(library, picture)
    assert sorted(found(library)) == ["before.png", "fox.png", "fox_2.png"]


def test_too_little_space_is_detected_before_anything_is_sent_unless_the_check_is_off(
    tmp_path: Path,
) -> None:
    petapixels = 10**15
    with pytest.raises(NotEnoughSpace):
        Library(tmp_path).check_writable(pixels=petapixels)
    with pytest.raises(NotEnoughSpace):
        Library(tmp_path).check_space(pixels=petapixels)
    Library(tmp_path, check_space=False).check_writable(pixels=petapixels)
    Library(tmp_path).check_writable(pixels=1024)


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
    found = {record.path.name for record in Library(root).search.find(Query(limit=1000)).pictures}
    assert set(told) <= found
    assert found == {name for name in contents(root) if not name.startswith(".")}


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
    assert all(not record.path.is_symlink() for record in library.search.find(Query(limit=1000)).pictures)


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
def test_f08_an_unwritable_folder_is_detected_before_anything_is_sent() -> None:
    with pytest.raises(CannotSave, match="Cannot save images in /proc/pictures"):
        Library(Path("/proc/pictures")).check_writable(pixels=1)


def test_f08_a_read_only_disk_is_detected_before_anything_is_sent(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, timeout=DEADLINE_SECONDS)
    with pytest.raises(CannotSave, match="EROFS") as caught:
        Library(small_disk).check_writable(pixels=1)
    assert "read-only" in caught.value.next_step


def test_f09_a_removed_folder_is_created_again_with_its_index(small_picture: Picture, tmp_path: Path) -> None:
    library = Library(tmp_path / "pictures")
    library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    shutil.rmtree(tmp_path / "pictures")
    saved = library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    assert [record.path for record in library.search.find(Query()).pictures] == [saved.path]


def test_f09_an_unplugged_disk_costs_no_image(small_picture: Picture, tmp_path: Path) -> None:
    library = Library(tmp_path / "disk" / "pictures", spill_dir=tmp_path / "spill")
    library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").write_text("an empty mount point that takes no folders")
    saved = library.save(small_picture, {}, prompt=PROMPT, now=NOON)
    assert (saved.spilled, saved.path.read_bytes()) == (True, small_picture.bytes)


def test_f10_a_disk_that_fills_up_holds_only_complete_files_and_no_image_is_lost(
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


def test_f10_if_space_is_free_again_images_go_to_the_folder_again(small_disk: Path, tmp_path: Path) -> None:
    library = Library(small_disk, spill_dir=tmp_path / "spill")
    (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    picture = noise(160)
    assert library.save(picture, {}, prompt=PROMPT, now=NOON).spilled
    (small_disk / "ballast").unlink()
    saved = library.save(picture, {}, prompt=PROMPT, now=NOON)
    assert not saved.spilled
    assert [record.path for record in library.search.find(Query()).pictures] == [saved.path]


def test_f10_a_disk_with_space_for_the_image_but_not_for_the_index_keeps_the_image(
    small_disk: Path,
) -> None:
    library, picture = Library(small_disk), noise(100)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(b"x" * (free - len(picture.bytes) - 8192))
    saved = library.save(picture, {"prompt": PROMPT}, prompt=PROMPT, now=NOON)
    assert saved.path.read_bytes() == picture.bytes
    assert (saved.spilled, "not in the index" in saved.notes[0]) == (False, True)
    (small_disk / "ballast").unlink()
    assert [record.path for record in library.search.find(Query()).pictures] == [saved.path]


@posix
def test_f12_killed_at_any_moment_no_partial_file_remains_and_the_index_agrees(tmp_path: Path) -> None:
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
        assert {
            record.path.name for record in Library(root).search.find(Query(limit=1000)).pictures
        } == visible


def test_f13_an_entry_whose_file_was_lost_in_a_power_cut_is_not_trusted(
    small_picture: Picture, tmp_path: Path
) -> None:
    library = Library(tmp_path)
    facts = {"prompt": PROMPT, "key": "ab"}
    saved = [library.save(small_picture, facts, prompt=PROMPT, now=NOON) for _ in range(2)]
    saved[0].path.unlink()
    saved[1].path.write_bytes(b"\0" * len(small_picture.bytes))  # what a file system may leave
    assert library.search.find(Query()).pictures == ()
    assert Library(tmp_path).search.find(Query(text="fox")).pictures == ()


def test_f14_a_missing_or_outdated_index_is_built_from_the_files(
    small_picture: Picture, tmp_path: Path
) -> None:
    for number in range(5):
        facts = {"prompt": f"a red fox {number}", "seed": number}
        picture = write_text(small_picture, {"vllm-image": json.dumps(facts)})
        Library(tmp_path).save(picture, facts, prompt=PROMPT, now=NOON)
    before = Library(tmp_path).search.find(Query(text="fox"))
    kept = (tmp_path / ".vllm-image" / "index.sqlite3").read_bytes()
    assert len(before.pictures) == 5

    shutil.rmtree(tmp_path / ".vllm-image")
    assert Library(tmp_path).search.find(Query(text="fox")) == before

    before.pictures[0].path.unlink()
    Store(tmp_path).save(small_picture, prompt="another", now=NOON)
    (tmp_path / ".vllm-image" / "index.sqlite3").write_bytes(kept)  # as after a restored backup
    found = {record.path.name for record in Library(tmp_path).search.find(Query()).pictures}
    assert found == {name for name in contents(tmp_path) if not name.startswith(".")}


async def test_f15_a_run_that_does_not_fit_on_the_disk_is_refused_unless_overridden(
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
