import errno
import os
import sys
from pathlib import Path

import pytest
from vllm_omni_client._imaging.rename import rename_if_free

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own call")


@linux
def test_a_file_gets_a_free_name_and_never_a_taken_one(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    if not rename_if_free(tmp_path / "new", tmp_path / "fox.png"):
        pytest.skip("this file system has no such rename")
    assert (tmp_path / "fox.png").read_bytes() == b"new"
    (tmp_path / "newer").write_bytes(b"newer")
    with pytest.raises(FileExistsError):
        rename_if_free(tmp_path / "newer", tmp_path / "fox.png")
    assert (tmp_path / "fox.png").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        rename_if_free(tmp_path / "gone", tmp_path / "owl.png")


@linux
def test_names_are_relative_to_an_open_folder(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        if not rename_if_free("new", "fox.png", folder=descriptor):
            pytest.skip("this file system has no such rename")
    finally:
        os.close(descriptor)
    assert [path.name for path in tmp_path.iterdir()] == ["fox.png"]


@linux
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_such_a_rename_is_recognised_by_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr("ctypes.get_errno", lambda: code)
    assert not rename_if_free(tmp_path / "gone", tmp_path / "fox.png")


def test_a_system_without_such_a_call_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "sunos5")
    assert not rename_if_free(tmp_path / "gone", tmp_path / "fox.png")
