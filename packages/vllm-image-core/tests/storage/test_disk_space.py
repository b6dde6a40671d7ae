"""Space on the disk."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from vllm_image_core.errors import NotEnoughSpace
from vllm_image_core.storage.disk_space import check_space, required_bytes


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def set_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    def usage(_: Path) -> Usage:
        return Usage(10**12, 10**12 - free, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_an_image_needs_two_bytes_a_pixel_and_a_fifth_more() -> None:
    assert required_bytes(1024 * 1024) == 2_516_582


def test_enough_space_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 2_516_582)
    check_space(tmp_path, pixels=1024 * 1024)


def test_too_little_space_is_reported_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free(monkeypatch, 2_516_581)
    with pytest.raises(NotEnoughSpace) as caught:
        check_space(tmp_path, pixels=1024 * 1024)
    error = caught.value
    assert (error.free_bytes, error.needed_bytes) == (2_516_581, 2_516_582)
    assert error.message == (
        f"Not enough space in {tmp_path}: 2.5 MB is free, about 2.5 MB is needed. Nothing was sent."
    )
    assert "Free some space" in error.next_step


def test_a_lot_of_space_is_reported_in_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 20_000_000)
    with pytest.raises(NotEnoughSpace, match=r"20\.0 MB is free, about 2\.5 GB is needed"):
        check_space(tmp_path, pixels=1000 * 1024 * 1024)
