"""The library: pictures saved, entered, found again, and never dropped."""

import json
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from vllm_image_core.errors import NotEnoughSpace, PictureNotSaved
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.requests.content_hash import ContentKey
from vllm_image_core.storage.library import Existing, Library, Saved
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.store import Store

NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
KEY = ContentKey("ab" * 32)
FACTS = {"prompt": "a red fox", "seed": 42, "key": KEY, "created": NOON.isoformat()}


@pytest.fixture
def picture(small_picture: Picture) -> Picture:
    """A picture that tells its facts."""
    return write_text(small_picture, {"vllm-image": json.dumps(FACTS)})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "pictures", spill_dir=tmp_path / "spill")


def save(library: Library, picture: Picture, **facts: object) -> Saved:
    return library.save(picture, {**FACTS, **facts}, prompt="a red fox", now=NOON, filename="fox")


def found(library: Library) -> list[str]:
    return [record.path.name for record in library.find(Query()).pictures]


def block(folder: Path) -> None:
    """Put a file in the way of a folder, as good as a disk that was unplugged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")


def test_a_saved_picture_is_found_as_its_file_tells(library: Library, picture: Picture) -> None:
    saved = save(library, picture)
    assert saved == Saved(path=library.root / "fox.png")
    [entered] = library.find(Query(text="fox")).pictures
    shutil.rmtree(library.root / ".vllm-image")
    assert Library(library.root).find(Query(text="fox")).pictures == (entered,)


def test_a_picture_that_is_there_and_whole_is_given_back(library: Library, picture: Picture) -> None:
    save(library, picture)
    [record] = library.find(Query()).pictures
    assert library.existing(KEY) == Existing(picture=picture, record=record)
    assert library.existing(ContentKey("cd" * 32)) is None


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped", "another", "link", "emptied"])
def test_a_picture_that_is_not_there_whole_is_not_given_back(
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


def test_of_several_the_newest_whole_one_is_given_back(library: Library, picture: Picture) -> None:
    paths = [save(library, picture, created=f"2026-02-1{day}").path for day in range(3)]
    paths[2].write_bytes(b"damaged")
    existing = library.existing(KEY)
    assert existing is not None
    assert existing.record.path == paths[1]


def test_a_picture_whose_file_tells_nothing_is_given_back_while_it_is_the_same_file(
    library: Library, small_picture: Picture
) -> None:
    path = save(library, small_picture).path
    assert library.existing(KEY) is not None
    path.write_bytes(small_picture.bytes[:-12] + b"\0\0\0\0tEXt\xb0\xa6\xb6\xc1" + small_picture.bytes[-12:])
    assert library.existing(KEY) is None


def test_a_picture_that_cannot_be_written_goes_to_the_spill_folder_and_is_told(
    library: Library, picture: Picture, tmp_path: Path
) -> None:
    block(library.root)
    saved = save(library, picture)
    assert saved.path == tmp_path / "spill" / "fox.png"
    assert saved.path.read_bytes() == picture.bytes
    assert saved.spilled
    [note] = saved.notes
    assert note.startswith(f"The image was saved to {saved.path} instead of the output folder. Cannot save ")


def test_the_usual_spill_folder_is_new_and_this_users_alone(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    library = Library(tmp_path / "pictures")
    save(library, picture)
    assert list((tmp_path / "temporary").iterdir()) == []
    block(library.root)
    paths = [save(library, picture).path for _ in range(2)]
    assert paths[0].parent == paths[1].parent
    assert paths[0].parent.parent == tmp_path / "temporary"
    if os.name == "posix":
        assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700


def test_when_the_spill_folder_fails_too_the_error_has_the_picture(
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


def test_when_there_is_no_temporary_folder_the_error_has_the_picture(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    library = Library(tmp_path / "pictures")
    block(library.root)
    with pytest.raises(PictureNotSaved) as caught:
        save(library, picture)
    assert caught.value.picture == picture


def test_an_index_that_cannot_be_written_is_told_and_the_picture_is_saved(
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


def test_pictures_saved_while_the_index_was_lost_are_found_by_the_next_search(
    library: Library, picture: Picture
) -> None:
    Store(library.root).save(picture, prompt="a red fox", now=NOON, filename="before")
    save(library, picture)
    shutil.rmtree(library.root / ".vllm-image")
    save(library, picture)
    assert sorted(found(library)) == ["before.png", "fox.png", "fox_2.png"]


def test_too_little_space_is_found_before_anything_is_sent_unless_it_is_not_to_be_looked_at(
    tmp_path: Path,
) -> None:
    petapixels = 10**15
    with pytest.raises(NotEnoughSpace):
        Library(tmp_path).check_writable(pixels=petapixels)
    with pytest.raises(NotEnoughSpace):
        Library(tmp_path).check_space(pixels=petapixels)
    Library(tmp_path, check_space=False).check_writable(pixels=petapixels)
    Library(tmp_path).check_writable(pixels=1024)
