"""Images are exported as copies or in another format, and replace nothing unless requested."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from edit_server import Server
from PIL import Image
from vllm_image_core import CannotSave, InvalidRequest, Studio
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.export import convert


async def test_copies_are_the_files_themselves_and_conversions_keep_the_parameters(tmp_path: Path) -> None:
    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        image = await studio.generate("a fox", filename="hero/fox", seed=7)
        [copy] = await studio.export([image], tmp_path / "site")
        files = [
            (await studio.export(["hero/fox.png"], tmp_path / kind, output_format=kind))[0]  # pyright: ignore[reportArgumentType] - one of the formats
            for kind in ("jpeg", "webp")
        ]
        recalled = [(await studio.recall(file)).request for file in files]
        back = convert(Picture.check_file(files[1].read_bytes()), "png")
        again = await studio.recall(back.bytes)
    assert copy.read_bytes() == image.path.read_bytes()
    assert [file.suffix for file in files] == [".jpg", ".webp"]
    assert {(each.prompt, each.seed) for each in (*recalled, again.request)} == {("a fox", 7)}


async def test_a_file_in_the_way_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        images = [await studio.generate("a fox", filename=name) for name in ("a", "b")]
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "b.png").write_text("theirs")
        with pytest.raises(InvalidRequest, match=r"b\.png exists already"):
            await studio.export(images, tmp_path / "site")
        assert [path.name for path in (tmp_path / "site").iterdir()] == ["b.png"]
        paths = await studio.export(images, tmp_path / "site", overwrite=True)
    assert [path.read_bytes() for path in paths] == [image.path.read_bytes() for image in images]
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["a.png", "b.png"]


async def test_only_images_of_the_folder_are_exported_each_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "secret.png").touch()
    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        images = [await studio.generate("a fox", filename=name) for name in ("a/fox", "b/fox")]
        with pytest.raises(InvalidRequest, match="would be written twice"):
            await studio.export(images, tmp_path / "site")
        for name in ("../secret.png", str(tmp_path / "secret.png"), "nothing.png"):
            with pytest.raises(InvalidRequest, match="is not an image in"):
                await studio.export([name], tmp_path / "site")
    assert not (tmp_path / "site").exists()


async def test_names_that_differ_only_in_case_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        images = [await studio.generate("a fox", filename=name) for name in ("a/fox", "b/FOX", "c/owl")]
        for overwrite in (False, True):
            with pytest.raises(InvalidRequest, match=r"fox\.png would be written twice"):
                await studio.export(images, tmp_path / "site", overwrite=overwrite)
    assert not (tmp_path / "site").exists()


async def test_a_folder_that_windows_would_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        image = await studio.generate("a fox")
        monkeypatch.setattr(sys, "platform", "win32")  # emulated
        for name in ("aux", "site.", "c:d"):
            with pytest.raises(CannotSave, match="Windows"):
                await studio.export([image], tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


async def test_a_copy_that_another_program_holds_is_reported_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    async with Studio(Server(), output_dir=tmp_path / "out") as studio:
        image = await studio.generate("a fox")
        await studio.export([image], tmp_path / "site")
        monkeypatch.setattr("vllm_omni_client._imaging.held_files.RETRY_SECONDS", 0.02)
        monkeypatch.setattr(os, "replace", held)
        with pytest.raises(CannotSave, match="another program has the file open") as caught:
            await studio.export([image], tmp_path / "site", overwrite=True)
    assert "Close the program" in caught.value.next_step


def test_transparent_parts_become_white_in_a_jpeg() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(file, "PNG")
    jpeg = convert(Picture.check_file(file.getvalue()), "jpeg")
    assert jpeg.pil().getpixel((8, 8)) == (255, 255, 255)
