"""One open folder."""

import errno
import itertools
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from vllm_image_core.storage.folder import Folder, is_link, sync_to_disk


@pytest.fixture(params=["relative to the folder", "by its path"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Folder]:
    """An open folder, on systems that work relative to one and on those that do not."""
    if request.param == "by its path":
        yield Folder(tmp_path, None)
        return
    with Folder.open(tmp_path) as opened:
        yield opened


def contents(folder: Folder) -> list[str]:
    return sorted(entry.name for entry in folder.path.iterdir())


def test_a_temporary_file_is_hidden_and_complete_and_finally_removed(folder: Folder) -> None:
    content = os.urandom(3_000_000)
    with folder.temporary(content) as name:
        assert name.startswith(".img_")
        assert contents(folder) == [name]
        assert (folder.path / name).read_bytes() == content
    assert contents(folder) == []


def test_a_temporary_file_is_gone_after_an_error(folder: Folder) -> None:
    with pytest.raises(KeyError), folder.temporary(b"x"):
        raise KeyError
    assert contents(folder) == []


def test_a_placed_file_stays_under_its_name(folder: Folder) -> None:
    with folder.temporary(b"content") as name:
        assert folder.place(name, "fox.png") is True
    folder.sync()
    assert contents(folder) == ["fox.png"]
    assert (folder.path / "fox.png").read_bytes() == b"content"
    assert folder.has("fox.png")
    assert not folder.has("hare.png")


def windows_refusal(path: object) -> PermissionError:
    return PermissionError(errno.EACCES, "it is being used by another process", str(path))


@pytest.mark.parametrize("step", ["rename", "unlink", "utime"])
def test_a_file_that_a_scanner_holds_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    do, tries = getattr(os, step), itertools.count()

    def scanned(path: object, *rest: object, **options: object) -> None:
        if next(tries) < 3:
            raise windows_refusal(path)
        do(path, *rest, **options)

    monkeypatch.setattr(sys, "platform", "win32")  # emulated: a rename never replaces there
    monkeypatch.setattr(os, step, scanned)
    folder = Folder(tmp_path, None)
    with folder.temporary(b"content") as name:
        if step == "utime":
            folder.touch(name)
        if step == "rename":
            assert folder.place(name, "fox.png") is True
    assert next(tries) > 3
    assert contents(folder) == (["fox.png"] if step == "rename" else [])


def test_a_taken_name_is_reported_and_its_file_stays(folder: Folder) -> None:
    (folder.path / "fox.png").write_bytes(b"mine")
    with folder.temporary(b"content") as name:
        assert folder.place(name, "fox.png") is False
    assert (folder.path / "fox.png").read_bytes() == b"mine"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody move an open folder")
def test_writes_go_to_the_opened_folder_even_if_it_is_swapped_for_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with Folder.open(tmp_path / "pictures") as folder:
        (tmp_path / "pictures").rename(tmp_path / "moved")
        (tmp_path / "pictures").symlink_to(tmp_path / "outside", target_is_directory=True)
        with folder.temporary(b"content") as name:
            folder.place(name, "fox.png")
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "moved" / "fox.png").read_bytes() == b"content"


def test_looking_at_a_missing_folder_does_not_create_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Folder.existing(tmp_path / "gone"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_read(folder: Folder) -> None:
    (folder.path / "fox.png").write_bytes(b"content")
    (folder.path / "folder.png").mkdir()
    with folder.reading("fox.png") as file:
        assert file is not None
        assert file.read() == b"content"
    with folder.reading("folder.png") as file:
        assert file is None
    with pytest.raises(FileNotFoundError), folder.reading("gone.png"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's links")
def test_a_link_swapped_in_between_looking_and_opening_is_not_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_bytes(b"secret")
    (folder.path / "fox.png").write_bytes(b"content")
    look = Folder.status

    def swapped(folder: Folder, name: str) -> os.stat_result:
        status = look(folder, name)
        (folder.path / name).unlink()
        (folder.path / name).symlink_to(secret)
        return status

    monkeypatch.setattr(Folder, "status", swapped)
    with pytest.raises(OSError, match=r"ELOOP|symbolic links"), folder.reading("fox.png"):
        pass


def test_names_come_and_go(folder: Folder) -> None:
    (folder.path / "fox.png").write_bytes(b"content")
    assert (folder.names(), folder.status("fox.png").st_size) == (["fox.png"], 7)
    assert folder.modified_ns() == folder.path.stat().st_mtime_ns
    folder.remove("fox.png")
    assert folder.names() == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_that_cannot_sync_takes_files(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)  # emulated: FUSE and network file systems
    monkeypatch.setattr(sys, "platform", "linux")
    folder.create("fox.png", b"fox")
    assert (folder.path / "fox.png").read_bytes() == b"fox"


def test_a_subfolder_is_used_even_if_none_may_be_created(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Access is denied")

    (folder.path / "hero").mkdir()
    monkeypatch.setattr(os, "mkdir", refuse)  # emulated: a share that checks the permission first
    with folder.below("hero", create=True) as below:
        below.create("fox.png", b"fox")
    assert (folder.path / "hero" / "fox.png").read_bytes() == b"fox"
    with pytest.raises(PermissionError), folder.below("villain", create=True):
        pass


def test_on_a_mac_a_file_is_written_to_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows has none")
    calls: list[object] = []
    monkeypatch.setattr(sys, "platform", "darwin")  # emulated: elsewhere, fcntl has no such command
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)

    def command(_: int, number: int) -> None:
        calls.append(number)

    def sync(_: int) -> None:
        calls.append("fsync")

    monkeypatch.setattr(fcntl, "fcntl", command)
    monkeypatch.setattr(os, "fsync", sync)
    descriptor = os.open(tmp_path / "fox.png", os.O_WRONLY | os.O_CREAT)
    sync_to_disk(descriptor)
    assert calls == [51]

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "fcntl", refuse)  # as network shares do
    sync_to_disk(descriptor)
    assert calls == [51, "fsync"]
    os.close(descriptor)


def test_a_windows_junction_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    assert not is_link(tmp_path / "folder")
    assert not is_link(tmp_path / "missing")
    status = SimpleNamespace(st_mode=(tmp_path / "folder").stat().st_mode, st_reparse_tag=0xA0000003)

    def lstat(_: Path) -> object:
        return status

    monkeypatch.setattr(Path, "lstat", lstat)  # emulated: what Windows says of one
    assert is_link(tmp_path / "folder")
    status.st_reparse_tag = 0x9000001A  # a file that OneDrive keeps elsewhere
    assert not is_link(tmp_path / "folder")


def test_without_relative_opens_a_link_in_the_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "hero").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    monkeypatch.setattr("vllm_image_core.storage.folder._RELATIVE", False)  # emulated: Windows
    with pytest.raises(NotADirectoryError), Folder.within(tmp_path / "root", ["hero"]):
        pass
