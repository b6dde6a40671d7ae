"""Images in subfolders are found by the index, whoever saved them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.subfolders import Subfolders, name_in

NOON = datetime(2026, 2, 18, 12, tzinfo=UTC)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "out")


def save(library: Library, picture: Picture, filename: str, prompt: str = "a fox") -> Path:
    facts = {"prompt": prompt, "batch": "b1", "position": 0}
    return library.save(picture, facts, prompt=prompt, now=NOON, filename=filename).path


def found(root: Path, text: str | None = None) -> list[str]:
    page = Index(root).find(Query(text=text))
    return sorted(name_in(root, record.path) for record in page.pictures)


def test_an_image_in_a_subfolder_is_found_at_once_and_by_its_folder(
    library: Library, small_picture: Picture
) -> None:
    path = save(library, small_picture, "hero/left")
    save(library, small_picture, "plain")
    page = library.search.find(Query(text="left"))
    assert [record.path for record in page.pictures] == [path]
    assert found(library.root) == ["hero/left.png", "plain.png"]
    assert library.in_batch("b1", [0])


def test_added_and_removed_files_in_a_subfolder_are_noticed(library: Library, small_picture: Picture) -> None:
    path = save(library, small_picture, "hero/left")
    assert found(library.root) == ["hero/left.png"]
    (path.parent / "copy.png").write_bytes(path.read_bytes())
    assert found(library.root) == ["hero/copy.png", "hero/left.png"]
    path.unlink()
    (path.parent / ".hidden.png").write_bytes(small_picture.bytes)
    assert found(library.root) == ["hero/copy.png"]


def test_one_index_notices_changes_by_other_programs_in_a_settled_subfolder(
    library: Library, small_picture: Picture
) -> None:
    path = save(library, small_picture, "hero/left")
    for folder in (library.root, path.parent):
        os.utime(folder, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    index = Index(library.root)
    assert len(index.find(Query()).pictures) == 1
    (path.parent / "copy.png").write_bytes(path.read_bytes())
    assert len(index.find(Query()).pictures) == 2
    (path.parent / "copy.png").unlink()
    assert len(index.find(Query()).pictures) == 1


def test_a_lost_index_is_rebuilt_with_the_subfolders(library: Library, small_picture: Picture) -> None:
    save(library, small_picture, "hero/left")
    save(library, small_picture, "a/b/c")
    library.flush()
    for file in (library.root / ".vllm-image").glob("index*"):
        file.unlink()
    assert found(library.root) == ["a/b/c.png", "hero/left.png"]


def test_other_folders_and_links_are_never_looked_into(
    library: Library, small_picture: Picture, tmp_path: Path
) -> None:
    save(library, small_picture, "hero/left")
    for folder in (library.root / "holidays", tmp_path / "private"):
        folder.mkdir()
        (folder / "own.png").write_bytes(small_picture.bytes)
    (library.root / "hero" / "left.png").unlink()
    (library.root / "hero").rmdir()
    (library.root / "hero").symlink_to(tmp_path / "private", target_is_directory=True)
    assert found(library.root) == []
    lines = library.root / ".vllm-image" / "subfolders.txt"
    lines.write_text("../private\n/etc\nhero\n\nholidays\nrejected\n")
    assert Subfolders(library.root).names() == ("holidays",)


def test_an_existing_image_is_reused_under_its_name_in_a_subfolder(
    library: Library, small_picture: Picture
) -> None:
    path = save(library, small_picture, "hero/left")
    [record] = library.search.find(Query()).pictures
    existing = library._read_complete(record)
    assert existing is not None
    assert library.place_existing(existing, filename="hero/left.png", now=NOON).path == path
    assert library.place_existing(existing, filename="left", now=NOON).path == library.root / "left.png"
