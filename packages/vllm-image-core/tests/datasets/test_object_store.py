"""Files of a store are written once and complete."""

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.storage.temporary_names import temporary_name

pytest.importorskip("obstore")


async def test_a_file_is_written_once(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "out")

    assert await store.create("images/ab/cd/x.png", b"first")
    assert not await store.create("images/ab/cd/x.png", b"second")

    assert await store.read("images/ab/cd/x.png") == b"first"
    assert await store.read("images/ab/cd/y.png") is None


async def test_a_file_can_be_replaced_on_purpose(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    await store.create("a.json", b"first")

    await store.replace("a.json", b"second")

    assert await store.read("a.json") == b"second"


async def test_an_address_leads_back_to_its_name(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "with space")

    uri = store.uri("images/a b.png")

    assert uri.startswith("file:///")
    assert store.name_of(uri) == "images/a b.png"
    with pytest.raises(ValueError, match="is not in"):
        store.name_of("file:///elsewhere/a.png")


async def test_unfinished_files_are_not_listed(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    await store.create("rows/a.parquet", b"")
    (tmp_path / "rows" / temporary_name()).write_bytes(b"cut o")

    assert [name async for name in store.names("rows")] == ["rows/a.parquet"]
    assert [name async for name in store.names("nothing")] == []


def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"ftp://host/x' has an unknown scheme\. Allowed: a folder, or"):
        ObjectStore("ftp://host/x")


def test_an_option_of_another_cloud_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"'google_token' is not an option here\. Allowed: options of"):
        ObjectStore("s3://bucket/x", {"google_token": "t"})


@pytest.mark.parametrize(
    ("address", "prefix"), [("s3://foxes", "aws_"), ("gs://foxes", "google_"), ("az://foxes", "AZURE_")]
)
def test_connection_options_are_named_like_those_of_the_bucket(
    address: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "foxes")
    options = {"allow_http": "true", "timeout": "5s", "pool_max_idle_per_host": "8", "proxy_url": "http://p"}

    ObjectStore(address, {f"{prefix}{name}": value for name, value in options.items()})

    with pytest.raises(InvalidRequest, match=r"cannot be opened: .*soon"):
        ObjectStore(address, {f"{prefix}timeout": "soon"})


async def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(CannotSave, match="cannot be created"):
        ObjectStore(tmp_path / "file" / "out")


async def test_files_are_synced_through_a_writable_handle_as_windows_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[int, int] = {}
    opens, syncs = os.open, os.fsync

    def open_noted(path: str, flags: int, *rest: int, **options: int | None) -> int:
        descriptor = opens(path, flags, *rest, **options)
        opened[descriptor] = flags
        return descriptor

    def sync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and not opened[descriptor] & os.O_WRONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # emulated: FlushFileBuffers is refused
        syncs(descriptor)

    monkeypatch.setattr(os, "open", open_noted)
    monkeypatch.setattr(os, "fsync", sync)
    store = ObjectStore(tmp_path)
    assert await store.create("images/a.png", b"first")
    await store.replace("images/a.png", b"second")
    assert await store.read("images/a.png") == b"second"


def test_a_folder_that_windows_would_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # emulated
    with pytest.raises(CannotSave, match="is reserved by Windows"):
        ObjectStore(tmp_path / "aux")
    assert list(tmp_path.iterdir()) == []


async def test_a_store_that_refuses_a_file_says_so_in_one_line(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    (tmp_path / "images").write_bytes(b"in the way")

    with pytest.raises(CannotSave, match="Cannot write to") as failure:
        await store.create("images/a.png", b"x")

    assert "\n" not in failure.value.message
