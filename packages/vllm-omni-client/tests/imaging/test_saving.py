"""A file appears under its name completely or not at all."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vllm_omni_client._imaging import held_files
from vllm_omni_client._imaging.saving import NewFile, write_file
from vllm_omni_client.errors import InvalidParameter


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with NewFile(tmp_path / "fox.png") as new:
        new.write(b"cut off by an attempt that failed")
        new.restart()
        new.write(b"who")
        new.write(memoryview(b"le"))
        assert not (tmp_path / "fox.png").exists()
        assert new.commit() == tmp_path / "fox.png"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("fox.png", b"whole")]


def test_an_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    with NewFile(tmp_path / "fox.png") as new:
        new.write(b"half")
    assert list(tmp_path.iterdir()) == []


CUT_OFF = """
import os, pathlib, sys
from vllm_omni_client._imaging.saving import NewFile
with NewFile(pathlib.Path(sys.argv[1])) as new:
    new.write(b"half")
    os._exit(0)
"""


def test_leftovers_of_a_killed_process_are_removed_with_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "fox [1].png"
    subprocess.run([sys.executable, "-c", CUT_OFF, path], check=True)
    subprocess.run([sys.executable, "-c", CUT_OFF, tmp_path / "owl.png"], check=True)
    left = list(tmp_path.iterdir())
    assert len(left) == 2

    with NewFile(path) as new:
        new.write(b"whole")
        new.commit()

    assert path.read_bytes() == b"whole"
    assert [each.name[:5] for each in tmp_path.iterdir() if each != path] == [".owl."]


def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    with NewFile(path) as first:
        first.write(b"first")
        with NewFile(path, overwrite=True) as second:
            second.write(b"second")
            second.commit()
        path.unlink()
        assert first.commit() == path
        with NewFile(path, overwrite=True):
            pass
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_kept_unless_requested_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(b"old")
    with pytest.raises(InvalidParameter, match="the file already exists"):
        NewFile(path)
    with pytest.raises(FileExistsError):
        write_file(b"new", path, overwrite=False)
    assert path.read_bytes() == b"old"
    assert write_file(b"new", path, overwrite=True) == path
    assert path.read_bytes() == b"new"


def cannot_rename(*_: object) -> bool:
    """As where the file system has no rename that never replaces."""
    return False


@pytest.mark.parametrize("means", ["link", "rename", "reserve"])
def test_a_file_that_someone_else_made_in_the_meantime_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, means: str
) -> None:
    def no_links(*_: object) -> None:
        raise OSError("no hard links here")

    if means != "link":
        monkeypatch.setattr(os, "link", no_links)
    if means == "reserve":
        monkeypatch.setattr("vllm_omni_client._imaging.saving.rename_if_free", cannot_rename)
    with NewFile(tmp_path / "fox.png") as new:
        new.write(b"ours")
        (tmp_path / "fox.png").write_bytes(b"theirs")
        with pytest.raises(FileExistsError):
            new.commit()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]
    with NewFile(tmp_path / "owl.png") as new:
        new.write(b"ours")
        new.commit()
    assert (tmp_path / "owl.png").read_bytes() == b"ours"


def test_an_impossible_path_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter) as caught:
        NewFile(tmp_path / "nowhere" / "fox.png")
    assert caught.value.parameter == "into"
    with pytest.raises(FileNotFoundError):
        write_file(b"x", tmp_path / "nowhere" / "fox.png", overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_name_that_no_file_can_have_is_refused_too(tmp_path: Path, *, overwrite: bool) -> None:
    for place, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "nul\0", "null"),
    ):
        with pytest.raises(InvalidParameter, match=why) as caught:
            NewFile(place, overwrite=overwrite)
        assert ".tmp" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_of_wide_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / ("🦊" * 60 + ".png")
    with NewFile(path) as new:
        new.commit()
    assert list(tmp_path.iterdir()) == [path]


def held(path: object, **_: object) -> None:
    """Refuse what another program has open, as Windows does."""
    raise PermissionError(errno.EACCES, "it is being used by another process", str(path))


def held_target(_: object, path: object) -> None:
    held(path)


def test_a_temporary_name_that_cannot_be_removed_is_not_an_error_of_a_complete_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "RETRY_SECONDS", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", held)
        assert write_file(b"whole", tmp_path / "fox.png", overwrite=False) == tmp_path / "fox.png"
    assert (tmp_path / "fox.png").read_bytes() == b"whole"
    (tmp_path / "fox.png").unlink()
    write_file(b"whole", tmp_path / "fox.png", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["fox.png"]


def test_no_empty_file_is_left_if_a_reserved_name_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EINVAL, "Incorrect function")

    remove, tries = os.unlink, itertools.count()

    def held_at_first(path: Path) -> None:
        if next(tries) == 0:
            held(path)
        remove(path)

    monkeypatch.setattr(held_files, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr("vllm_omni_client._imaging.saving.rename_if_free", cannot_rename)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", held_target)
        patch.setattr(os, "unlink", held_at_first)
        with pytest.raises(PermissionError):
            write_file(b"whole", tmp_path / "fox.png", overwrite=False)
    assert list(tmp_path.iterdir()) == []
    write_file(b"whole", tmp_path / "fox.png", overwrite=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("fox.png", b"whole")]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_that_a_scanner_holds_for_a_moment_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, overwrite: bool
) -> None:
    means = "replace" if overwrite else "rename"
    move, tries = getattr(os, means), iter(range(100))

    def scanned(old: object, new: object) -> None:
        if next(tries) < 3:
            held(old)
        move(old, new)

    monkeypatch.setattr(sys, "platform", "win32")  # emulated: a rename never replaces there
    monkeypatch.setattr(os, means, scanned)
    path = tmp_path / "fox.png"
    assert write_file(b"whole", path, overwrite=overwrite) == path
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("fox.png", b"whole")]


def test_on_windows_a_file_never_has_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # emulated: the second name could not be removed there
    linked: list[object] = []

    def link(*names: object) -> None:
        linked.extend(names)

    monkeypatch.setattr(os, "link", link)
    write_file(b"whole", tmp_path / "fox.png", overwrite=False)
    assert linked == []
