"""What the system refuses is explained, with what to do about it."""

import errno
import os
from pathlib import Path

import pytest
from vllm_image_core.errors import CannotSave
from vllm_image_core.storage.os_errors import next_step_after, reason_of
from vllm_image_core.storage.store import Store
from vllm_omni_client.imaging import FileHeld


def test_a_link_loop_is_reported_as_one(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CannotSave) as caught:
        Store(tmp_path / "loop" / "images").check_writable()
    assert "A symbolic link in the path leads back to itself" in caught.value.next_step


def test_a_link_loop_is_reported_as_one_by_its_windows_error_too() -> None:
    error = OSError(errno.EINVAL, "The name of the file cannot be resolved by the system")
    error.winerror = 1921  # type: ignore[attr-defined]  # emulated: only Windows has it
    assert "leads back to itself" in next_step_after(error, otherwise="otherwise")
    error.winerror = 87  # type: ignore[attr-defined]
    assert next_step_after(error, otherwise="otherwise") == "otherwise"


def test_a_held_file_is_not_reported_as_a_missing_permission() -> None:
    error = FileHeld(errno.EACCES, "another program has the file open", "fox.png")
    assert reason_of(error) == "another program has the file open (EACCES)"
    assert next_step_after(error, otherwise="").startswith("Close the program that has it open")
    forbidden = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "fox.png")
    assert "permissions" in next_step_after(forbidden, otherwise="")


def test_a_name_that_the_system_cannot_encode_is_explained() -> None:
    error = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    assert "characters that filenames on this system cannot have" in reason_of(error)
    assert next_step_after(error, otherwise="") == "Choose another output folder."
