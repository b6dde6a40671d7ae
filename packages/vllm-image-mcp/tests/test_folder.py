import logging
from pathlib import Path

import pytest
from vllm_image_mcp.folder import Folder, usable_folder


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's Pictures folder."""
    folder = tmp_path / "home" / "Pictures"
    monkeypatch.setattr("vllm_image_mcp.folder.user_pictures_path", lambda: folder)
    return folder


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder in which nothing can be made: a file stands where ours would be, for root too."""
    folder.mkdir()
    (folder / "generated_images").write_text("in the way")
    monkeypatch.chdir(folder)


def test_a_relative_folder_lies_in_the_working_folder(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usable_folder(Path("generated_images")) == Folder(tmp_path / "generated_images")
    assert not pictures.exists()


def test_a_folder_is_not_made_before_there_is_a_picture(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usable_folder(Path("deep/er/images")) == Folder(tmp_path / "deep/er/images")
    assert list(tmp_path.iterdir()) == []


def test_where_the_working_folder_cannot_be_written_the_users_pictures_are_used_and_told(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    note = (
        f"Pictures are saved in {pictures / 'generated_images'}, "
        f"because {tmp_path / 'work' / 'generated_images'} cannot be written."
    )
    with caplog.at_level(logging.WARNING):
        folder = usable_folder(Path("generated_images"))
    assert folder == Folder(pictures / "generated_images", note)
    assert [record.message.startswith(note) for record in caplog.records] == [True]


def test_where_neither_can_be_written_the_folder_stays_the_one_that_was_asked_for(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    pictures.parent.mkdir()
    pictures.write_text("in the way")
    assert usable_folder(Path("generated_images")) == Folder(tmp_path / "work" / "generated_images")
    assert caplog.records == []


def test_an_absolute_folder_was_meant_whether_it_can_be_written_or_not(
    tmp_path: Path, pictures: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert usable_folder(tmp_path / "file") == Folder(tmp_path / "file")
    assert not pictures.exists()


def test_a_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert usable_folder(Path("~/foxes")) == Folder(tmp_path / "foxes")
