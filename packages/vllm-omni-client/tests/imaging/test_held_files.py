"""A file that another program holds open is waited for; other refusals are not."""

import errno
import os
import sys
import time
from collections.abc import Callable

import pytest
from vllm_omni_client._imaging import held_files
from vllm_omni_client._imaging.held_files import FileHeld, retry_while_held


def refused(code: int, *, windows: int | None = None) -> OSError:
    error = OSError(code, os.strerror(code), "fox.png")
    if windows is not None:
        error.winerror = windows  # type: ignore[attr-defined]  # only Windows has it
    return error


HELD = [
    refused(errno.EACCES, windows=5),
    refused(errno.EACCES, windows=32),
    refused(errno.EACCES, windows=33),
    refused(errno.EBUSY),
    refused(errno.ETXTBSY),
]


def fails(error: OSError, times: int) -> tuple[Callable[[], str], list[float]]:
    """An operation that fails some times, and when it was tried."""
    tried: list[float] = []

    def operation() -> str:
        tried.append(time.monotonic())
        if len(tried) <= times:
            raise error
        return "done"

    return operation, tried


@pytest.mark.parametrize("error", [*HELD, refused(errno.EACCES)], ids=repr)
def test_a_file_that_is_held_for_a_moment_is_waited_for(error: OSError) -> None:
    operation, tried = fails(error, 4)
    assert retry_while_held(operation) == "done"
    assert len(tried) == 5
    assert tried == sorted(set(tried))


@pytest.mark.parametrize("error", HELD, ids=repr)
def test_a_file_that_stays_held_is_an_error_that_says_so(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "RETRY_SECONDS", 0.05)
    operation, tried = fails(error, 1_000)
    with pytest.raises(FileHeld, match="another program has the file open") as caught:
        retry_while_held(operation)
    assert (caught.value.errno, caught.value.filename) == (error.errno, "fox.png")
    assert len(tried) > 1


@pytest.mark.parametrize(("system", "expected"), [("win32", FileHeld), ("linux", PermissionError)])
def test_a_denied_access_without_a_windows_error_is_blamed_on_an_open_file_only_there(
    system: str, expected: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(sys, "platform", system)
    operation, _ = fails(refused(errno.EACCES), 1_000)
    with pytest.raises(OSError, match=r"fox\.png") as caught:
        retry_while_held(operation)
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "error",
    [refused(errno.ENOENT), refused(errno.ENOSPC), refused(errno.EPERM), refused(errno.EEXIST, windows=183)],
    ids=repr,
)
def test_any_other_refusal_is_not_repeated(error: OSError) -> None:
    operation, tried = fails(error, 1)
    with pytest.raises(OSError, match=r"fox\.png"):
        retry_while_held(operation)
    assert len(tried) == 1
