"""Thumbnails: which are made, kept and removed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from drawing_server import Server, studio_of
from PIL import Image
from vllm_image_core.gallery.page import THUMBNAILS
from vllm_image_core.gallery.thumbnails import update_thumbnails
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.query import Query
from vllm_image_core.storage.record import Record


@pytest.fixture
async def record(tmp_path: Path) -> Record:
    async with studio_of(Server(), tmp_path) as studio:
        await studio.generate("a red fox", width=640, height=320)
    [only] = Index(tmp_path).find(Query()).pictures
    return only


async def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(record: Record, tmp_path: Path) -> None:
    [path] = update_thumbnails([record], tmp_path / "small").values()
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (320, 160))


async def test_a_thumbnail_is_made_once(record: Record, tmp_path: Path) -> None:
    [path] = update_thumbnails([record], tmp_path / "small").values()
    os.utime(path, (1, 1))
    assert list(update_thumbnails([record], tmp_path / "small").values()) == [path]
    assert path.stat().st_mtime == 1


async def test_a_changed_image_gets_a_new_one_and_the_old_one_is_removed(
    record: Record, tmp_path: Path
) -> None:
    [old] = update_thumbnails([record], tmp_path / "small").values()
    changed = replace(record, modified_ns=record.modified_ns + 1)
    [new] = update_thumbnails([changed], tmp_path / "small").values()
    assert new != old
    assert list((tmp_path / "small").iterdir()) == [new]


async def test_images_of_one_name_and_time_in_two_subfolders_have_thumbnails_of_their_own(
    record: Record, tmp_path: Path
) -> None:
    twin = tmp_path / "hero" / record.path.name
    twin.parent.mkdir()
    Image.new("RGB", (64, 64), "teal").save(twin)
    found = update_thumbnails([record, replace(record, path=twin)], tmp_path / "small")
    assert len(set(found.values())) == 2
    with Image.open(found[twin]) as image:
        assert image.size == (64, 64)


async def test_the_name_of_a_thumbnail_is_short_enough_for_every_output_folder(
    record: Record, tmp_path: Path
) -> None:
    long = replace(record, path=record.path.rename(tmp_path / f"{'f' * 120}.png"))
    [path] = update_thumbnails([long], tmp_path / FOLDER / THUMBNAILS).values()
    assert len(str(path.with_suffix(".part").relative_to(tmp_path))) < 92


async def test_a_file_that_is_not_an_image_has_none(record: Record, tmp_path: Path) -> None:
    record.path.write_bytes(b"not an image")
    assert update_thumbnails([record], tmp_path / "small") == {}
    gone = replace(record, path=tmp_path / "gone.png")
    assert update_thumbnails([gone], tmp_path / "small") == {}
