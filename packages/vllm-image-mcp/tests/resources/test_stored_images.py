"""The images of a folder: what is sent, and which are the latest."""

import os
import random
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import Picture
from vllm_image_mcp.resources import stored_images
from vllm_image_mcp.resources.stored_images import latest, read, smaller


def noise(folder: Path, name: str, side: int = 64) -> Path:
    """An image that no format can compress."""
    pixels = random.Random(side).randbytes(side * side * 3)
    Image.frombytes("RGB", (side, side), pixels).save(folder / name)
    return folder / name


def test_an_image_too_large_to_send_is_sent_with_the_same_pixels_in_fewer_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_images, "MAX_SENT_BYTES", 20_000)
    picture = read(tmp_path, noise(tmp_path, "noise.png", 128).name)
    assert picture
    assert len(picture.bytes) > 20_000

    sent = smaller(picture, width=None, format=None)

    assert (sent.format, sent.width, sent.height) == ("jpeg", 128, 128)
    assert len(sent.bytes) <= 20_000


def test_a_png_that_stays_too_large_is_sent_with_fewer_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_images, "MAX_SENT_BYTES", 20_000)
    picture = read(tmp_path, noise(tmp_path, "noise.png", 128).name)
    assert picture

    sent = smaller(picture, width=None, format="png")

    assert (sent.format, sent.width, sent.height) == ("png", 72, 72)
    assert len(sent.bytes) <= 20_000


def test_a_sent_image_fits_into_the_message_limit_of_clients() -> None:
    assert stored_images.MAX_SENT_BYTES * 4 / 3 < 10 * 2**20 - 2**16


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_images, "_MOST_READ_BYTES", 1_000)

    with pytest.raises(BadPicture, match="larger than"):
        read(tmp_path, noise(tmp_path, "noise.png").name)


def test_the_latest_images_are_those_that_were_written_last(tmp_path: Path) -> None:
    for age, name in enumerate(["c.png", "a.jpg", "d.webp", "b.png"]):
        os.utime(noise(tmp_path, name), (1_000_000_000 - age, 1_000_000_000 - age))
    (tmp_path / "junk.png").write_bytes(b"no picture")
    (tmp_path / "note.txt").write_text("words")

    assert [record.path.name for record in latest(tmp_path, 3)] == ["c.png", "a.jpg", "d.webp"]


def test_a_missing_folder_has_none(tmp_path: Path) -> None:
    assert latest(tmp_path / "none", 3) == ()
    assert read(tmp_path / "none", "a.png") is None


def test_an_image_is_sent_unchanged_if_nothing_else_is_requested(tmp_path: Path) -> None:
    path = noise(tmp_path, "a.webp")
    picture = read(tmp_path, path.name)
    assert picture

    assert smaller(picture, width=None, format=None) is picture
    assert smaller(picture, width=None, format="webp") is picture
    assert Picture.check(path.read_bytes()).bytes == picture.bytes
